"""The waves of the two studies whose findings are published."""

import waves

import dmws_lite as dm


def test_each_wave_is_a_study_whose_methods_hold_what_it_is_compared_with():
    for name, study_waves in (("claim", waves.claim([waves.LITE])), ("beyond", waves.beyond([waves.LITE]))):
        for wave in study_waves:
            study = dm.read_study(wave.pop("name", name), **{"data": ["phantom_chest_xray"]} | wave)
            assert study.resolved.keys() & {"weight_selection", "dual_skd"}
            longer = [study.resolved[name] for name in ("equal_time", "longer") if name in study.resolved]
            assert all(method.training["steps"] > study.training.steps for method in longer)

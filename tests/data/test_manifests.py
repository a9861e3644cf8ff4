from unicodedata import normalize

import pandas as pd
import pytest

from dmws_lite.data import manifests

FILES = ["a/1.png", "a/2.png", "b/3.png", "b/brain.v2.nii.gz"]


def read_entries(*arguments):
    return manifests.read_entries(*arguments)[0]


def csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def rows(table, *columns):
    return list(zip(*(table[column] for column in columns), strict=True))


def test_columns_are_found_by_their_usual_names_or_told(tmp_path):
    headers = "file,label,split,patient", "Filename,Diagnosis,subset,Patient ID", " image_id , target,partition ,x"
    for header in headers:
        path = csv(tmp_path / "list.csv", f"{header}\na/1.png,sick,Training,007\nb/3.png,well,valid,\n")
        columns = {"patient": "x"} if header.endswith("x") else {}
        expected = [("a/1.png", "sick", "train", "007"), ("b/3.png", "well", "val", "")]
        assert rows(read_entries(path, FILES, columns), "file", "label", "split", "patient") == expected
    with pytest.raises(ValueError, match=r"list.csv has no column 'clinic': its columns are image_id, target, part"):
        read_entries(path, FILES, {"patient": "clinic"})


def test_a_file_is_found_by_path_or_by_a_unique_name(tmp_path):
    for name in ("a/1.png", "./a/1.png", "a\\1.png", "a//1.png", "a/1", "1.png", "1", f"{tmp_path}/a/1.png"):
        path = csv(tmp_path / "list.csv", f"file,label\n{name},x\nbrain.v2,y\n")
        assert list(read_entries(path, FILES)["file"]) == ["a/1.png", "b/brain.v2.nii.gz"]
    for folder in ("a", "b", "c"):  # of which one holds another image
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_text("other" * (folder == "c"))
    assert list(read_entries(csv(path, "file,label\n1,x\n"), ["a/1.png", "b/1.png"])["file"]) == ["a/1.png"]
    with pytest.raises(ValueError, match="'1' may be a/1.png, c/1.png: write the path, or move"):
        read_entries(path, ["a/1.png", "c/1.png"])
    assert list(read_entries(path, ["1.png", "c/1.png"])["file"]) == ["1.png"]
    assert list(read_entries(csv(path, "file,path,x\n1,c/1.png,1\n"), ["a/1.png", "c/1.png"])["file"]) == ["c/1.png"]


def test_accents_may_be_stored_in_either_form(tmp_path):
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        file = normalize(other, "Köpfe/Ö é.png")
        assert list(read_entries(csv(tmp_path / "x.csv", f"file\n{normalize(form, file)}\n"), [file])["file"]) == [file]


GONE = "a/1.png,x\n" + "".join(f"a/gone{i}.png,x\n" for i in range(7))
REFUSED = {  # the manifest's text, what the error says
    **{
        f"file,label\n{name},x\n": "list.csv: .* leads out of its folder: write paths relative"
        for name in ("a/../../x.png", "/etc/x.png", "C:\\x.png", "..\\x.png", "C:x.png")
    },
    "file,label\n" + GONE: r"lists 7 of 8 images that are not .*a/gone0.png, .*a/gone4.png \.\.\.",
    "file,label\na/1.png,x\na/2.png,x\na/1,y\n": "lists 1 images twice: a/1.png",
    "file,label,split\na/1.png,x,fold 3\n": "split 'fold 3' is unknown: write one of train, training, val",
    "sex,age\nf,40\n": "has no column 'file': its columns are sex, age",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_list_of_the_images_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=REFUSED[text]):
        read_entries(csv(tmp_path / "list.csv", text), FILES)


def test_words_for_not_known(tmp_path):
    for word in ("", "NA", "nan", "unknown", " "):
        path = csv(tmp_path / "list.csv", f"file,label,split,patient\na/1.png,none,{word},{word}\n")
        assert rows(read_entries(path, FILES), "label", "split", "patient") == [("none", "", "")]


@pytest.mark.parametrize(("separator", "encoding"), [(",", "utf-8-sig"), (";", "utf-8"), ("\t", "utf-8")])
def test_what_spreadsheets_write(tmp_path, separator, encoding):
    path = csv(tmp_path / "list.csv", f"file{separator}label\r\na/1.png{separator}Müdigkeit\r\n", encoding)
    assert rows(read_entries(path, FILES), "file", "label") == [("a/1.png", "Müdigkeit")]


@pytest.mark.parametrize("content", [b"", b"file,label\na/1.png,M\xfcde\n", b'file,label\n"a/1.png,x\n'])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
def test_a_manifest_that_cannot_be_read_is_named(tmp_path, content, suffix):
    (tmp_path / f"list{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=f"list{suffix} (cannot be read|is not read without openpyxl: pip install)"):
        read_entries(tmp_path / f"list{suffix}", FILES)


def test_parquet_is_read_like_csv_unless_it_holds_the_images_themselves(tmp_path):
    table = pd.DataFrame({"file": FILES[:3], "label": [0, 1, 1], "patient": [7.0, None, 8.0], "split": [None] * 3})
    table.to_parquet(tmp_path / "list.parquet")
    read = read_entries(tmp_path / "list.parquet", FILES)
    assert rows(read, "label", "patient", "split") == [("0", "7", ""), ("1", "", ""), ("1", "8", "")]
    pd.DataFrame({"image": [{"bytes": b"x", "path": None}], "label": [1]}).to_parquet(tmp_path / "list.parquet")
    with pytest.raises(ValueError, match="'image' holds no file names.*load_dataset"):
        read_entries(tmp_path / "list.parquet", FILES)

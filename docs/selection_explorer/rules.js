// The rules of selection, as in dmws_lite/method: elements.py, selection.py and plan.py. A test compares both.
"use strict";

const SelectionRules = (() => {
  const LAYERS = ["first", "last", "uniform"];

  // What was made before under this key: axes of one size have the same index sets.
  const made = new Map();
  function once(key, make) {
    if (!made.has(key)) made.set(key, make());
    return made.get(key);
  }

  // Half to even, like numpy.
  function rounded(x) {
    const below = Math.floor(x), rest = x - below;
    return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
  }

  // Positions of `pick` evenly spaced elements out of `size`.
  function spread(size, pick) {
    if (!(pick >= 1 && pick <= size)) throw new Error(`cannot pick ${pick} of ${size}`);
    if (size % pick === 0) return Array.from({ length: pick }, (_, i) => i * (size / pick));
    const step = (size - 1) / (pick - 1);
    return Array.from({ length: pick }, (_, i) => (i === pick - 1 ? size - 1 : rounded(i * step)));
  }

  // The index sets of n students along one axis, each from the elements that were used least so far.
  function subsets(size, pick, n, strategy) {
    spread(size, pick);
    const used = new Array(size).fill(0), sets = [];
    for (let student = 0; student < n; student++) {
      const taken = new Set();
      while (taken.size < pick) {
        const rest = used.map((_, i) => i).filter((i) => !taken.has(i));
        const least = rest.reduce((low, i) => Math.min(low, used[i]), Infinity);
        const pool = rest.filter((i) => used[i] === least), count = Math.min(pick - taken.size, pool.length);
        const places = strategy === "uniform" ? spread(pool.length, count) : pool.slice(0, count).map((_, i) => i);
        places.forEach((place) => taken.add(pool[place]));
      }
      sets.push([...taken].sort((a, b) => a - b));
      taken.forEach((i) => used[i]++);
    }
    return sets;
  }

  // The axis has room for `phase` disjoint sets before this one, or is taken whole.
  function checkPhase(size, pick, phase) {
    const room = Math.floor(size / Math.max(pick, 1));
    if (phase < 0 || (pick < size && phase >= room))
      throw new Error(`phase ${phase} is out of range on an axis of ${size} elements of which ${pick} are picked: it ` +
        `has room for ${room} disjoint subset${room === 1 ? "" : "s"}, so choose a phase below ${room}`);
  }

  function phased(size, pick, phase, strategy) {
    checkPhase(size, pick, phase);
    return subsets(size, pick, pick === size ? 1 : phase + 1, strategy).at(-1);
  }

  // Indices along a (head, head_dim) axis that keep the teacher heads `heads` whole.
  function wholeHeads(teacher, student, heads) {
    const inside = spread(teacher[1], student[1]);
    return heads.flatMap((head) => inside.map((i) => head * teacher[1] + i));
  }

  // The indices whose bits are set in a hexadecimal mask, from the highest bit on.
  function unpacked(mask) {
    const indices = [];
    for (let place = 0; place < mask.length; place++) {
      const digit = parseInt(mask[place], 16);
      for (let bit = 0; bit < 4; bit++) if (digit & (8 >> bit)) indices.push(4 * place + bit);
    }
    return indices;
  }

  // One index set a student along a named axis of a pair. choice: strategy, students, phase (of a single student).
  function axisSets(pair, name, { strategy, students, phase }) {
    const axis = pair.axes[name];
    const choose = (size, pick, rule) => once(`${size} ${pick} ${rule} ${students} ${phase}`, () =>
      students > 1 ? subsets(size, pick, students, rule) : [phased(size, pick, phase, rule)]);
    try {
      if (strategy === "random") {
        if (students === 1) checkPhase(axis.size, axis.pick, phase);
        const sets = axis.random.map((mask) => once(mask, () => unpacked(mask)));
        return students > 1 ? sets.slice(0, students) : [sets[axis.pick === axis.size ? 0 : phase]];
      }
      if (strategy === "heads" && name.startsWith("attn/")) {
        const [t, s] = pair.heads;
        return choose(t, s, "uniform").map((kept) => wholeHeads([t, axis.size / t], [s, axis.pick / s], kept));
      }
      return choose(axis.size, axis.pick, strategy === "heads" ? "uniform" : strategy);
    } catch (error) {
      throw new Error(`axis ${name}: ${error.message}`);
    }
  }

  const unfused = (axis) => axis.split("*").at(-1);

  function squeezed(shape, axes) {
    const linear = shape.length === axes + 2 && shape.at(-1) === 1 && shape.at(-2) === 1;
    return linear ? shape.slice(0, -2) : shape;
  }

  // A plan a student: [{student, teacher, axes, shape, indices}], indices null where all of an axis is taken.
  function plans(pair, choice) {
    const sets = Object.fromEntries(Object.keys(pair.axes).map((name) => [name, axisSets(pair, name, choice)]));
    const layers = LAYERS.indexOf(choice.layers);
    return Array.from({ length: choice.students }, (_, student) => pair.assignments.map((a) => {
      const teacher = a.teacher[layers], shape = squeezed(pair.teacherShapes[teacher], a.axes.length);
      const indices = a.axes.map((axis, place) => {
        const index = (sets[unfused(axis)] || [])[student];
        const third = shape[place] / 3;
        const all = index && axis.includes("*") ? [0, 1, 2].flatMap((part) => index.map((i) => i + part * third)) : index;
        return !all || all.length === shape[place] ? null : all;
      });
      return { student: a.student, teacher, axes: a.axes, shape, indices };
    }));
  }

  // How many of `size` indices are in all sets of a group, for each group (one bit a set); null is the set of all.
  function commonCounts(sets, size) {
    const members = new Uint8Array(size), exact = new Array(1 << sets.length).fill(0);
    sets.forEach((set, k) => {
      if (set === null) for (let i = 0; i < size; i++) members[i] |= 1 << k;
      else for (const i of set) members[i] |= 1 << k;
    });
    for (const who of members) exact[who]++;
    return exact.map((_, group) => exact.reduce((sum, n, who) => sum + ((who & group) === group ? n : 0), 0));
  }

  // Elements that all students of a group receive, by group (one bit a student: 1 is main, 2 auxiliary, 3 both) and
  // teacher tensor. Index sets recur in many tensors: counted once.
  function shared(plans) {
    const counts = new Map(), groups = Array.from({ length: 1 << plans.length }, () => ({}));
    plans[0].forEach((a, row) => {
      const along = a.axes.map((axis, place) => {
        const size = a.shape[place], key = `${axis} ${size}`;
        if (!counts.has(key)) counts.set(key, commonCounts(plans.map((plan) => plan[row].indices[place]), size));
        return counts.get(key);
      });
      groups.forEach((tensors, group) => {
        tensors[a.teacher] = along.reduce((product, count) => product * count[group], 1);
      });
    });
    return groups;
  }

  // Elements that at least one student receives, by teacher tensor: inclusion and exclusion over what groups share.
  function together(groups) {
    const tensors = {};
    groups.slice(1).forEach((counts, place) => {
      const students = [...(place + 1).toString(2)].filter((bit) => bit === "1").length, sign = students % 2 ? 1 : -1;
      for (const name in counts) tensors[name] = (tensors[name] || 0) + sign * counts[name];
    });
    return tensors;
  }

  const product = (shape) => shape.reduce((a, b) => a * b, 1);

  // {used, size} over all teacher tensors but the classifier.
  function total(pair, tensors) {
    const size = Object.values(pair.teacherShapes).reduce((sum, shape) => sum + product(shape), 0);
    return { used: Object.values(tensors).reduce((a, b) => a + b, 0), size };
  }

  return { LAYERS, spread, subsets, phased, wholeHeads, unpacked, axisSets, plans, shared, together, total, product, unfused };
})();

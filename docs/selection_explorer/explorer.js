// The selection explorer: reads the choices, looks up the index sets that docs/selection_data.py stored, counts and draws
// them. No rules of selection, no network, no framework.
"use strict";

(() => {
  const { pairs, fixed } = SELECTION_DATA;
  const NAMES = ["main", "auxiliary", "auxiliary 2", "auxiliary 3"];
  const MARKS = { 2: "m.15 .85l.7 -.7", 3: "m.5 .2v.6", 4: "m.2 .5h.6", several: "m.15 .15l.7 .7m0 -.7l-.7 .7" };
  const SHOWN = 24; // indices of the map, along each axis
  const root = document.getElementById("selection-explorer");
  const form = root.querySelector("form"), find = (name) => root.querySelector(`.explorer-${name}`);
  const [shares, sets] = root.querySelectorAll(".explorer-table");

  const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  const percent = (part, whole) => `${((100 * part) / whole).toFixed(2)} %`;
  const count = (number) => number.toLocaleString("en");
  const options = (names) => names.map((name) => `<option>${escaped(name)}</option>`).join("");

  // The indices of a hexadecimal mask, from its highest bit on. Many axes have the same ones: each is read once.
  const unpacked = new Map();
  function indicesOf(mask) {
    if (!unpacked.has(mask)) {
      const bits = [...mask].flatMap((digit) => [8, 4, 2, 1].map((bit) => parseInt(digit, 16) & bit));
      unpacked.set(mask, bits.flatMap((bit, i) => (bit ? [i] : [])));
    }
    return unpacked.get(mask);
  }

  // Each tensor of the pair: its name in the teacher, its axes, and along each axis every student's indices (null: all).
  function tensorsOf(pair, { strategy, layers, students, phase }) {
    const numbers = students > 1 ? [...Array(students).keys()] : [phase];
    const sets = {};
    for (const [name, stored] of Object.entries(pair.axes))
      sets[name] = numbers.map((k) => indicesOf(pair.masks[stored[strategy][k]]));
    return pair.tensors.map(({ axes, shape, names }) => ({
      name: names[layers], shape, axes, sets: axes.map((axis) => sets[axis] || numbers.map(() => null)),
    }));
  }

  const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

  // How many of an axis's elements go to exactly each group of students; a group has one bit per student.
  function groupCounts(sets, size) {
    const groups = new Uint8Array(size), counts = new Array(1 << sets.length).fill(0);
    sets.forEach((set, k) => (set || [...groups.keys()]).forEach((i) => { groups[i] |= 1 << k; }));
    groups.forEach((group) => counts[group]++);
    return counts;
  }

  // How many elements all students of `group` receive, by tensor: the product over its axes.
  function sharedBy(group, tensors, counts) {
    const along = (axis) => axis.reduce((sum, n, who) => sum + ((who & group) === group ? n : 0), 0);
    return tensors.map((_, row) => product(counts[row].map(along)));
  }

  // How many elements each student, both, and all together receive, by tensor. Together: inclusion and exclusion.
  function usage(tensors, students) {
    const known = new Map();
    const counts = tensors.map(({ axes, shape, sets }) => axes.map((axis, place) => {
      const key = `${axis} ${shape[place]}`;
      if (!known.has(key)) known.set(key, groupCounts(sets[place], shape[place]));
      return known.get(key);
    }));
    const groups = Array.from({ length: 1 << students }, (_, group) => sharedBy(group, tensors, counts));
    const signs = groups.map((_, group) => ([...group.toString(2)].filter((bit) => bit === "1").length % 2 ? 1 : -1));
    const together = tensors.map((_, row) => groups.reduce((sum, n, group) => sum + (group && signs[group] * n[row]), 0));
    const rows = NAMES.slice(0, students).map((name, k) => [name, groups[1 << k]]);
    return students > 1 ? [...rows, ["main and auxiliary both (overlap)", groups[3]], ["together", together]] : rows;
  }

  function listed(indices) {
    return indices.length <= 7 ? indices.join(", ") : `${indices.slice(0, 4).join(", ")}, … ${indices.slice(-2).join(", ")}`;
  }

  function fillTensors() {
    const pair = pairs[form.pair.value], before = form.tensor.value;
    const names = pair.tensors.map((tensor) => tensor.names[form.layers.value]);
    form.tensor.innerHTML = options(names);
    form.tensor.value = [before, pair.first].find((name) => names.includes(name)) || names[0];
  }

  // Who receives each index from `start` on: 0 nobody, k student k alone, "several".
  function rolesAlong(indexSets, start, length) {
    const members = indexSets.map((set) => new Set(set));
    return Array.from({ length }, (_, i) => members.flatMap((set, k) => (set.has(start + i) ? [k + 1] : [])));
  }

  const role = (students) => (students.length > 1 ? "several" : students[0] || 0);

  // Cells as a few paths: one of squares and one of marks for each role. cells: [[x, y, role], ...].
  function drawn(cells) {
    const paths = {};
    for (const [x, y, who] of cells) {
      const path = (paths[who] ||= { squares: "", marks: "" });
      path.squares += `M${x + 0.04} ${y + 0.04}h.92v.92h-.92z`;
      if (MARKS[who]) path.marks += `M${x} ${y}${MARKS[who]}`;
    }
    return Object.entries(paths).map(([who, { squares, marks }]) =>
      `<path class="role-${who}" d="${squares}"/>` + (marks ? `<path class="mark mark-${who}" d="${marks}"/>` : "")).join("");
  }

  // An SVG of columns x rows cells with index numbers below and (of a map) to the left.
  function picture(cells, columns, rows, x0, y0, words) {
    const size = 16, left = y0 === null ? 0 : 34, numbers = (length, start, place) =>
      Array.from({ length }, (_, i) => i).filter((i) => (start + i) % 8 === 0).map(place).join("");
    const below = numbers(columns, x0, (i) =>
      `<text x="${left + (i + 0.5) * size}" y="${rows * size + 13}" text-anchor="middle">${x0 + i}</text>`);
    const beside = y0 === null ? "" : numbers(rows, y0, (i) =>
      `<text x="${left - 4}" y="${(i + 0.5) * size + 4}" text-anchor="end">${y0 + i}</text>`);
    return `<svg role="img" aria-label="${escaped(words)}" viewBox="0 0 ${left + columns * size} ${rows * size + 18}">` +
      `<g transform="translate(${left} 0) scale(${size})">${drawn(cells)}</g>${below}${beside}</svg>`;
  }

  // The axes of a tensor along which elements are selected, with every student's indices.
  function selectedAxes({ axes, shape, sets }) {
    return axes.map((name, place) => ({ name, size: shape[place], sets: sets[place] }))
      .filter(({ name }) => !fixed.includes(name));
  }

  function windowOf(size) {
    const length = Math.min(SHOWN, size);
    return [Math.round((form.window.value / 100) * (size - length)), length];
  }

  function drawStrips(axes) {
    find("strips").innerHTML = axes.map(({ name, size, sets: taken }) => {
      const [start, length] = windowOf(size);
      const cells = taken.flatMap((set, k) => {
        const members = new Set(set);
        return Array.from({ length }, (_, i) => [i, k, members.has(start + i) ? k + 1 : 0]);
      });
      const words = `Axis ${name}, teacher indices ${start} to ${start + length - 1} of ${size}, one row a student.`;
      return `<h3>axis ${escaped(name)}: ${start} to ${start + length - 1} of ${size}</h3>` +
        picture(cells, length, taken.length, start, null, words);
    }).join("");
  }

  function drawMap(tensor, axes) {
    const [across, down] = [axes.at(-1), axes.length > 1 ? axes[0] : null];
    const [x0, columns] = windowOf(across.size), [y0, rows] = down ? windowOf(down.size) : [0, 1];
    const inColumn = rolesAlong(across.sets, x0, columns);
    const inRow = down ? rolesAlong(down.sets, y0, rows) : [across.sets.map((_, k) => k + 1)];
    const cells = inRow.flatMap((vertical, y) =>
      inColumn.map((horizontal, x) => [x, y, role(horizontal.filter((k) => vertical.includes(k)))]));
    const place = down ? `rows ${y0} to ${y0 + rows - 1} (${down.name}), columns ${x0} to ${x0 + columns - 1} (${across.name})`
      : `elements ${x0} to ${x0 + columns - 1} (${across.name})`;
    const words = `Map of ${tensor}: ${place}; each cell says which student receives the element. Shares are in the table.`;
    find("map").innerHTML = `<h3>${escaped(tensor)}: ${escaped(place)}</h3>` +
      picture(cells, columns, rows, x0, down ? y0 : null, words);
  }

  function drawShares(pair, tensors, shown, students) {
    const cell = (used, whole) => `<td>${percent(used, whole)} <small>${count(used)} of ${count(whole)}</small></td>`;
    const rows = usage(tensors, students).map(([name, used]) => [name, used, used.reduce((a, b) => a + b, 0)]);
    const body = rows.map(([name, used, all]) => `<tr><th scope="row">${name}</th>` +
      `${cell(used[tensors.indexOf(shown)], product(shown.shape))}${cell(all, pair.size)}</tr>`).join("");
    shares.innerHTML = "<table><caption>Shares of the teacher's elements, without its classifier</caption><thead><tr>" +
      `<td></td><th scope="col">this tensor</th><th scope="col">the whole teacher</th></tr></thead><tbody>${body}</tbody></table>`;
    return `Of the teacher: ${rows.map(([name, , all]) => `${name} ${percent(all, pair.size)}`).join(", ")}.`;
  }

  function drawSets(axes) {
    const heads = axes[0].sets.map((_, k) => `<th scope="col">${NAMES[k]}</th>`).join("");
    const body = axes.map(({ name, size, sets: taken }) => {
      const times = new Array(size).fill(0);
      taken.flat().forEach((i) => times[i]++);
      const cells = taken.map((set) => `<td>${listed(set)}</td>`).join("");
      return `<tr><th scope="row">${escaped(name)}</th><td>${size} → ${taken[0].length}</td>${cells}` +
        `<td>${times.filter((n) => n > 1).length}</td><td>${times.filter((n) => n === 0).length}</td></tr>`;
    }).join("");
    sets.innerHTML = "<table><caption>Teacher indices along each axis of this tensor</caption><thead><tr>" +
      `<th scope="col">axis</th><th scope="col">sizes</th>${heads}<th scope="col">shared</th>` +
      `<th scope="col">unused</th></tr></thead><tbody>${body}</tbody></table>`;
  }

  function drawLegend(students) {
    const entries = NAMES.slice(0, students).map((name, k) => [k + 1, name]);
    if (students > 1) entries.push(["several", students > 2 ? "several" : "both"]);
    entries.push([0, "nobody"]);
    find("legend").innerHTML = entries.map(([who, name]) =>
      `<li><svg viewBox="0 0 1 1" aria-hidden="true">${drawn([[0, 0, who]])}</svg>${name}</li>`).join("");
  }

  function layersSaid(pair) {
    const stages = pair.layers[form.layers.value];
    const said = stages.map((blocks, stage) => `${stages.length > 1 ? `stage ${stage}: ` : ""}${blocks.join(", ")}`);
    return `Teacher blocks that feed the student's blocks 0, 1, … in turn: ${said.join("; ")}.`;
  }

  function update() {
    const started = performance.now(), pair = pairs[form.pair.value], students = Number(form.students.value);
    const choice = { strategy: form.strategy.value, layers: form.layers.value, students, phase: Number(form.phase.value) };
    const refused = students === 1 && pair.refused[choice.strategy][choice.phase];
    form.phase.disabled = students > 1;
    find("view").hidden = Boolean(refused);
    if (refused) {
      find("summary").textContent = `Not possible: ${refused}.`;
    } else {
      const tensors = tensorsOf(pair, choice), shown = tensors.find(({ name }) => name === form.tensor.value);
      const axes = selectedAxes(shown);
      find("summary").textContent = drawShares(pair, tensors, shown, students);
      find("layers").textContent = layersSaid(pair);
      drawLegend(students);
      drawStrips(axes);
      drawMap(shown.name, axes);
      drawSets(axes);
    }
    root.dataset.milliseconds = performance.now() - started;
  }

  form.pair.innerHTML = options(Object.keys(pairs));
  fillTensors();
  form.addEventListener("input", ({ target }) => {
    if (target.name === "pair" || target.name === "layers") fillTensors();
    update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
})();

// Engines over time: instruction by instruction where few are in sight, else by the share of time at work.

const DRAWN = 2500;
const STRETCHES = 400;
const POINTS = 1500;

class Timeline {
  constructor(data, choose) {
    this.data = data;
    this.choose = choose;
    this.text = data.text.split("\n");
    this.range = [0, data.cycles];
    this.node = -1;
    this.row = -1;
    this.rows = data.engines.map(() => []);
    data.columns.engine.forEach((engine, row) => this.rows[engine].push(row));
    this.used = data.engines.map((_, engine) => engine).filter(engine => this.rows[engine].length);
    this.ofNode = new Map();
    data.kernels.forEach((nodes, kernel) => nodes.forEach(node => {
      this.ofNode.set(node, (this.ofNode.get(node) ?? new Set()).add(kernel));
    }));
    this.plot = document.getElementById("timeline");
    draw("timeline", () => this.figure(), { displayModeBar: false });
    this.plot.on("plotly_relayout", change => this.moved(change));
    this.plot.on("plotly_click", event => this.clicked(event.points[0]));
    document.querySelectorAll("[data-zoom]").forEach(button => {
      button.addEventListener("click", () => this.zoom(button.dataset.zoom));
    });
  }

  // Rows of an engine that are at work between two cycles; its rows follow one another in time.
  within(engine, first, last) {
    const { start, end } = this.data.columns, rows = this.rows[engine];
    let low = 0, high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (end[rows[middle]] <= first) low = middle + 1; else high = middle;
    }
    let stop = low;
    while (stop < rows.length && this.data.columns.free[rows[stop]] < last) stop++;
    return rows.slice(low, stop).filter(row => end[row] > start[row]);
  }

  figure() {
    const [first, last] = this.range;
    const rows = this.used.map(engine => this.within(engine, first, last));
    const total = rows.reduce((sum, own) => sum + own.length, 0);
    const single = total <= DRAWN;
    const engines = single ? this.instructions(rows) : this.stretches(rows, first, last);
    document.getElementById("timeline-range").value =
      `cycles ${count(first)} to ${count(last)}: ${count(total)} instructions${single ? "" : ", by stretches"}`;
    const traces = [...engines, ...this.data.courses.map((course, index) => this.course(course, index, first, last))];
    return [traces, this.shape(single)];
  }

  shape(single) {
    const courses = this.data.courses, height = 0.15, gap = 0.045;
    const top = courses.length * (height + gap);
    const names = this.used.map(engine => this.data.engines[engine]);
    const shape = layout({
      barmode: "overlay", bargap: 0, showlegend: single, dragmode: "zoom", hovermode: "closest",
      margin: { l: 8, r: 12, t: 30, b: 8 },
      xaxis: axis({ range: this.range, title: { text: "cycles" }, anchor: courses.length ? `y${courses.length + 1}` : "y",
        tickformat: ",d", hoverformat: ",d" }),
      yaxis: axis({ domain: [top, 1], fixedrange: true, categoryorder: "array", categoryarray: names.reverse(),
        type: "category", range: [-0.5, names.length - 0.5], showgrid: false }),
      shapes: [],
      annotations: [],
    });
    courses.forEach((course, index) => {
      const base = top - (index + 1) * (height + gap) + gap / 2, bytes = course.unit === "B";
      const highest = course.limit / (bytes ? 1024 : 1);
      shape[`yaxis${index + 2}`] = axis({
        domain: [base, base + height], fixedrange: true, range: [0, highest * 1.08], nticks: 4, tickformat: "~g",
      });
      shape.annotations.push({
        xref: "paper", x: 0, xanchor: "left", yref: "paper", y: base + height, yanchor: "bottom", showarrow: false,
        text: `${course.name} [${bytes ? "KiB" : course.unit}], ${count(highest)} at most`,
        font: { size: 12, color: colour("soft") },
      });
      shape.shapes.push({
        type: "line", xref: "paper", x0: 0, x1: 1, yref: `y${index + 2}`, y0: highest, y1: highest,
        line: { color: colour("soft"), width: 1, dash: "dot" },
      });
    });
    return shape;
  }

  mine(row) {
    return this.ofNode.get(this.node)?.has(this.data.columns.kernel[row]) ?? false;
  }

  instructions(rows) {
    const { start, end, free, issue, waited_on } = this.data.columns, paper = colour("paper"), ink = colour("ink");
    // Neighbours are parted by a line where there is room for one.
    const wide = 6 * (this.range[1] - this.range[0]) / this.plot.clientWidth;
    const traces = this.used.map((engine, index) => {
      const own = rows[index], name = this.data.engines[engine];
      return {
        type: "bar", orientation: "h", name, y: own.map(() => name), base: own.map(row => start[row]),
        x: own.map(row => end[row] - start[row]), width: 0.72, customdata: own,
        text: own.map(row => this.hover(row)), textposition: "none", hovertemplate: "%{text}<extra></extra>",
        marker: {
          color: colour(this.kind(name)),
          opacity: own.map(row => this.node < 0 || this.mine(row) || row === this.row ? 1 : 0.22),
          line: { color: own.map(row => row === this.row ? ink : paper), width: own.map(row => row === this.row ? 2 : end[row] - start[row] > wide ? 0.7 : 0) },
        },
      };
    });
    const causes = [
      ["waits for an engine", "dependency", row => [free[row], issue[row]],
        row => `waits for ${this.data.engines[waited_on[row]] ?? "its own queue"}`],
      ["waits for DRAM", "channel", row => this.data.transfer[row] ? [issue[row], start[row]] : [0, 0],
        () => "waits for the DRAM channel"],
      ["fills the array", "fill", row => this.data.transfer[row] ? [0, 0] : [issue[row], start[row]],
        () => "fills and drains the array"],
    ];
    for (const [name, part, span, why] of causes) {
      const all = rows.flat().filter(row => span(row)[1] > span(row)[0]);
      traces.push({
        type: "bar", orientation: "h", name, y: all.map(row => this.data.engines[this.data.columns.engine[row]]),
        base: all.map(row => span(row)[0]), x: all.map(row => span(row)[1] - span(row)[0]), width: 0.3,
        customdata: all, text: all.map(row => `${why(row)}: ${count(span(row)[1] - span(row)[0])} cycles`),
        textposition: "none", hovertemplate: "%{text}<extra></extra>", marker: { color: colour(part), line: { width: 0 } },
      });
    }
    return traces.filter(trace => trace.x.length);
  }

  stretches(rows, first, last) {
    const step = (last - first) / STRETCHES, names = this.used.map(engine => this.data.engines[engine]);
    const middle = Array.from({ length: STRETCHES }, (_, index) => first + (index + 0.5) * step);
    const shares = wanted => rows.map(own => {
      const { start, end } = this.data.columns, sums = new Float64Array(STRETCHES);
      for (const row of own) {
        if (!wanted(row)) continue;
        const from = Math.max(start[row], first), to = Math.min(end[row], last);
        for (let bin = Math.floor((from - first) / step); bin < STRETCHES && first + bin * step < to; bin++) {
          sums[bin] += Math.max(Math.min(to, first + (bin + 1) * step) - Math.max(from, first + bin * step), 0);
        }
      }
      return Array.from(sums, sum => sum / step);
    });
    const map = (wanted, name, tone) => ({
      type: "heatmap", x: middle, y: names, z: shares(wanted), zmin: 0, zmax: 1, ygap: 6, xgap: 0, name,
      colorscale: [[0, colour("finished")], [1, colour(tone)]], showscale: false,
      hovertemplate: `%{y} ${name} %{z:.0%} of ${count(step)} cycles around %{x:,d}<extra></extra>`,
    });
    return [this.node < 0 ? map(() => true, "at work", "accent") : map(row => this.mine(row), "at work for the node", "mx")];
  }

  course(course, index, first, last) {
    const bytes = course.unit === "B", scale = bytes ? 1 / 1024 : 1, { times, values } = course;
    let low = times.findIndex(time => time > first);
    low = Math.max((low < 0 ? times.length : low) - 1, 0);
    let high = low;
    while (high < times.length && times[high] < last) high++;
    let x = [], y = [];
    if (high - low <= POINTS) {
      for (let place = low; place < high; place++) {
        x.push(Math.max(times[place], first));
        y.push(values[place] * scale);
      }
      x.push(last);
      y.push(y.at(-1) ?? 0);
    } else {
      const step = (last - first) / STRETCHES, sums = new Float64Array(STRETCHES);
      for (let place = low; place < high; place++) {
        const from = Math.max(times[place], first), to = Math.min(times[place + 1] ?? this.data.cycles, last);
        for (let bin = Math.floor((from - first) / step); bin < STRETCHES && first + bin * step < to; bin++) {
          const spent = Math.min(to, first + (bin + 1) * step) - Math.max(from, first + bin * step);
          // Of a rate the mean, of bytes in use the most.
          sums[bin] = bytes ? Math.max(sums[bin], values[place]) : sums[bin] + values[place] * Math.max(spent, 0) / step;
        }
      }
      x = Array.from(sums, (_, bin) => first + bin * step);
      y = Array.from(sums, sum => sum * scale);
    }
    return {
      type: "scatter", mode: "lines", x, y, yaxis: `y${index + 2}`, name: course.name, showlegend: false,
      line: { shape: "hv", width: 1.3, color: colour(["ld", "vx", "mx"][index]) }, fill: "tozeroy",
      hovertemplate: `${course.name} %{y:,.4~g} ${bytes ? "KiB" : course.unit} from cycle %{x:,d}<extra></extra>`,
    };
  }

  kind(name) {
    return name.replace(/\d+$/, "");
  }

  hover(row) {
    const { start, end, dram_bytes, macs } = this.data.columns;
    const more = [macs[row] && `${count(macs[row])} MACs`, dram_bytes[row] && `${count(dram_bytes[row])} DRAM bytes`];
    return [
      `<b>${this.text[row].split(" ")[0]}</b>, instruction ${count(row)}`,
      `cycles ${count(start[row])} to ${count(end[row])}: ${count(end[row] - start[row])}`,
      ...more.filter(Boolean),
      ...this.nodes(row).slice(0, 4).map(node => nodeName(node).replaceAll("<", "&lt;")),
    ].join("<br>");
  }

  nodes(row) {
    return this.data.kernels[this.data.columns.kernel[row]] ?? [];
  }

  moved(change) {
    const low = change["xaxis.range[0]"], high = change["xaxis.range[1]"];
    if (low !== undefined) this.show(low, high);
    else if (change["xaxis.autorange"]) this.show(0, this.data.cycles);
  }

  zoom(way) {
    const [first, last] = this.range, width = last - first, middle = (first + last) / 2;
    const moves = {
      in: [middle - width / 4, middle + width / 4], out: [middle - width, middle + width],
      left: [first - width / 2, last - width / 2], right: [first + width / 2, last + width / 2],
      all: [0, this.data.cycles], node: this.span(),
    };
    this.show(...moves[way]);
  }

  // From the first start to the last end of the chosen node's instructions, with a little on both sides.
  span() {
    const { start, end } = this.data.columns, rows = start.map((_, row) => row).filter(row => this.mine(row));
    if (!rows.length) return this.range;
    const first = rows.reduce((least, row) => Math.min(least, start[row]), Infinity);
    const last = rows.reduce((most, row) => Math.max(most, end[row]), 0), edge = (last - first) / 50;
    return [first - edge, last + edge];
  }

  show(first, last) {
    const width = Math.min(Math.max(last - first, 16), this.data.cycles);
    const from = Math.min(Math.max(first, 0), this.data.cycles - width);
    this.range = [from, from + width];
    drawings.get("timeline")();
  }

  clicked(point) {
    if (point.data.type === "heatmap") {
      const width = (this.range[1] - this.range[0]) / 8;
      this.show(point.x - width / 2, point.x + width / 2);
    } else if (point.data.type === "bar") {
      this.tell(point.customdata);
    }
  }

  // Show what a row is, and choose its first node.
  tell(row) {
    const { start, end, free, issue, retire, waited_on, engine, dram_bytes, macs, energy_pj, critical } =
      this.data.columns;
    this.row = row;
    const detail = document.getElementById("instruction");
    const lines = [
      `Instruction ${count(row)} on ${this.data.engines[engine[row]]}: cycles ${count(start[row])} to ${count(end[row])}` +
        ` (${count(end[row] - start[row])}), result there at ${count(retire[row])}.`,
    ];
    if (issue[row] > free[row]) {
      lines.push(`Its engine waited ${count(issue[row] - free[row])} cycles for` +
        ` ${this.data.engines[waited_on[row]] ?? "its own queue"}.`);
    }
    if (start[row] > issue[row]) {
      const what = this.data.transfer[row] ? "its turn at the DRAM channel" : "the array to fill and drain";
      lines.push(`Then ${count(start[row] - issue[row])} cycles for ${what}.`);
    }
    lines.push(critical[row] ? `${count(critical[row])} cycles of it are on the critical path.`
      : "It is not on the critical path.");
    lines.push(`${count(macs[row])} MACs, ${count(dram_bytes[row])} DRAM bytes, ${count(energy_pj[row])} pJ.`);
    const chips = element("div", "", { className: "chips" });
    for (const node of this.nodes(row)) {
      chips.append(element("button", nodeName(node), { type: "button", onclick: () => this.choose(node) }));
    }
    detail.replaceChildren(element("code", this.text[row]), element("p", lines.join(" ")), chips);
    detail.hidden = false;
    this.choose(this.nodes(row)[0] ?? -1, row);
  }

  mark(node, row = -1) {
    this.node = node;
    this.row = row;
    document.querySelector('[data-zoom="node"]').disabled = !this.ofNode.has(node);
    drawings.get("timeline")();
  }
}

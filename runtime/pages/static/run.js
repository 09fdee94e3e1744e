// The page of a run: its plots, and one chosen node that all parts show.

const report = plain("report");
const roofs = plain("roofs");
const unit = plain("unit");

draw("engine-chart", () => {
  const parts = [
    ["busy", "busy_cycles", "accent"], ["array fill", "fill_cycles", "fill"], ["waits", "dependency_cycles", "dependency"],
    ["DRAM turn", "channel_cycles", "channel"], ["finished", "finished_cycles", "finished"],
  ];
  const total = report.summary.cycles, names = report.engines.map(row => row.engine);
  const traces = parts.map(([name, field, tone]) => ({
    type: "bar", orientation: "h", name, y: names, x: report.engines.map(row => 100 * row[field] / total),
    text: report.engines.map(row => count(row[field])), textposition: "none", marker: { color: colour(tone) },
    hovertemplate: `%{y} ${name}: %{text} cycles, %{x:.1f} % of latency<extra></extra>`,
  }));
  return [traces, layout({
    barmode: "stack", bargap: 0.3, dragmode: false, margin: { l: 8, r: 24, t: 40, b: 8 },
    xaxis: axis({ title: { text: "% of latency" }, range: [0, 100], fixedrange: true }),
    yaxis: axis({ autorange: "reversed", fixedrange: true, showgrid: false }),
  })];
});

draw("energy-chart", () => {
  const parts = Object.entries(report.summary.energy_by_part_pj).filter(([, energy]) => energy > 0);
  parts.sort(([, a], [, b]) => a - b);
  const values = parts.map(([, energy]) => energy / unit.picojoules), total = report.summary.energy_pj / unit.picojoules;
  return [[{
    type: "bar", orientation: "h", y: parts.map(([part]) => part), x: values, marker: { color: colour("accent") },
    text: values.map(value => `${(100 * value / total).toFixed(1)} %`), textposition: "auto", cliponaxis: false,
    insidetextfont: { color: colour("paper") }, outsidetextfont: { color: colour("ink") },
    hovertemplate: `%{y}: %{x:,.4~g} ${unit.name}, %{text}<extra></extra>`,
  }], layout({
    dragmode: false, bargap: 0.3, xaxis: axis({ title: { text: `energy [${unit.name}]` }, fixedrange: true, rangemode: "tozero" }),
    yaxis: axis({ fixedrange: true, showgrid: false }),
  })];
});

draw("roofline", () => {
  const points = roofs.kernels.map((point, index) => ({ ...point, index, ...report.kernels[index] }));
  const shown = points.filter(point => point.rate > 0), finite = shown.filter(point => point.intensity !== null);
  const highest = Math.max(...Object.values(roofs.roofs), 1e-3);
  const low = Math.min(...finite.map(point => point.intensity), highest / roofs.bandwidth / 10) / 2;
  const most = Math.max(...finite.map(point => point.intensity), highest / roofs.bandwidth) * 4;
  const bottom = Math.min(...shown.map(point => point.rate), highest / 1000) / 2;
  const tones = ["mx", "ld", "vx", "sx", "st", "accent"], names = Object.keys(roofs.roofs);
  const tone = name => colour(name === "vector" ? "vx" : tones[names.indexOf(name) % tones.length]);
  const traces = [{
    type: "scatter", mode: "lines", x: [low, highest / roofs.bandwidth], y: [low * roofs.bandwidth, highest],
    name: `DRAM ${roofs.bandwidth.toLocaleString("en")} GB/s`, line: { color: colour("soft"), width: 2 }, hoverinfo: "name",
  }];
  for (const [name, roof] of Object.entries(roofs.roofs)) {
    traces.push({
      type: "scatter", mode: "lines", x: [roof / roofs.bandwidth, most * 1.5], y: [roof, roof], hoverinfo: "name",
      name: `${name} peak ${roof.toLocaleString("en")} Gop/s`, line: { color: tone(name), width: 2, dash: "dash" },
    });
    const own = shown.filter(point => point.roof === name);
    traces.push({
      type: "scatter", mode: "markers", name: `${name} kernels`, customdata: own.map(point => point.index),
      x: own.map(point => point.intensity ?? most), y: own.map(point => point.rate),
      marker: {
        color: tone(name), size: 10, opacity: 0.8, line: { color: colour("paper"), width: 1 },
        symbol: own.map(point => point.intensity === null ? "triangle-right" : name === "vector" ? "diamond" : "circle"),
      },
      text: own.map(point => [
        `<b>${point.path || point.nodes[0]}</b>`, ...point.nodes.slice(0, 5), ...(point.nodes.length > 5 ? ["..."] : []),
        `${point.rate.toPrecision(3)} Gop/s, ${(100 * point.rate / roof).toFixed(0)} % of peak`,
        point.intensity === null ? "no DRAM byte" : `${point.intensity.toPrecision(3)} operations/byte`,
        `${count(point.operations)} operations, ${count(point.dram_bytes)} bytes, ${count(point.cycles)} cycles`,
      ].join("<br>")),
      hovertemplate: "%{text}<extra></extra>",
    });
  }
  const legend = narrow() ? { orientation: "h", y: -0.18, yanchor: "top", x: 0 } : undefined;
  return [traces, layout({
    ...(legend ? { legend } : {}), hovermode: "closest", margin: { l: 8, r: 12, t: narrow() ? 30 : 60, b: 8 },
    xaxis: axis({ ...decades(), title: { text: "operations / DRAM byte" }, range: [Math.log10(low), Math.log10(most * 1.5)] }),
    yaxis: axis({ ...decades(), title: { text: "Gop/s" }, range: [Math.log10(bottom), Math.log10(highest * 2)] }),
  })];
}, { displayModeBar: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage"] });

const bar = document.getElementById("choice");
const views = [];

// Show a node, or one of its instructions, in every part of the page.
function choose(node, row = -1, from = null) {
  document.querySelector("#nodes tr.chosen")?.classList.remove("chosen");
  bar.hidden = node < 0;
  if (node >= 0) {
    document.getElementById(`node-${node}`).classList.add("chosen");
    bar.querySelector("strong").textContent = nodeName(node);
  }
  history.replaceState(null, "", node < 0 ? "#" : `#node-${node}`);
  for (const view of views) view.mark(node, row, view !== from);
}
function nodeName(node) {
  return report.nodes[node].node;
}

document.querySelectorAll("#nodes tbody tr").forEach(row => {
  const node = Number(row.id.slice(5));
  row.classList.toggle("idle", report.nodes[node].cycles === 0);
  row.tabIndex = 0;
  row.addEventListener("click", () => choose(node));
  row.addEventListener("keydown", event => { if (event.key === "Enter") choose(node); });
});

bar.querySelectorAll("[data-go]").forEach(button => button.addEventListener("click", () => {
  const part = button.dataset.go, chosen = document.querySelector("#nodes tr.chosen");
  if (!part) choose(-1);
  else if (part === "nodes-part") chosen.scrollIntoView({ block: "center" });
  else document.getElementById(part).scrollIntoView();
}));

document.getElementById("roofline").on("plotly_click", ({ points: [point] }) => {
  const name = report.kernels[point.customdata]?.nodes[0];
  if (name !== undefined) choose(report.nodes.findIndex(row => row.node === name));
});

views.push(new Timeline(await unpacked("timeline-data"), choose));
if (document.getElementById("phases-data")) {
  const phases = await unpacked("phases-data");
  views.push(new Pane("left", phases, 0, choose), new Pane("right", phases, phases.length - 1, choose));
}
const named = location.hash.match(/^#node-(\d+)$/);
if (named && Number(named[1]) < report.nodes.length) choose(Number(named[1]));
document.documentElement.dataset.ready = "yes";

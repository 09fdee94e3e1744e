// The page of a difference: what nodes make of the latency, before and after.

const changes = plain("changes-data");

if (changes.length) {
  draw("changes-chart", () => {
    const traces = [["before", "dependency"], ["after", "accent"]].map(([run, tone]) => ({
      type: "bar", orientation: "h", name: run, y: changes.map(change => change.node), x: changes.map(change => change[run]),
      marker: { color: colour(tone) }, hovertemplate: `%{y} ${run}: %{x:,.0f} cycles<extra></extra>`,
    }));
    return [traces, layout({
      barmode: "group", bargap: 0.25, dragmode: false, margin: { l: 8, r: 24, t: 40, b: 8 },
      xaxis: axis({ title: { text: "cycles on the critical path" }, fixedrange: true, rangemode: "tozero" }),
      yaxis: axis({ autorange: "reversed", fixedrange: true, showgrid: false, type: "category" }),
    })];
  });
}

document.documentElement.dataset.ready = "yes";

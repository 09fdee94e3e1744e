// The page of a difference: what nodes make of the latency, before and after.

const changes = plain("changes-data");

if (changes.length) {
  const places = changes.map((_, place) => place), room = narrow() ? 18 : 44;
  const label = name => name.length > room ? `\u2026${name.slice(1 - room)}` : name;
  draw("changes-chart", () => {
    const traces = [["before", "dependency"], ["after", "accent"]].map(([run, tone]) => ({
      type: "bar", orientation: "h", name: run, y: places, text: changes.map(change => change.node), x: changes.map(change => change[run]),
      marker: { color: colour(tone) }, textposition: "none", hovertemplate: `%{text} ${run}: %{x:,.0f} cycles<extra></extra>`,
    }));
    return [traces, layout({
      barmode: "group", bargap: 0.25, dragmode: false, margin: { l: 8, r: 24, t: 40, b: 8 },
      xaxis: axis({ title: { text: "cycles on the critical path" }, fixedrange: true, rangemode: "tozero" }),
      yaxis: axis({ autorange: "reversed", fixedrange: true, showgrid: false, tickvals: places,
        ticktext: changes.map(change => label(change.node)) }),
    })];
  });
}

document.documentElement.dataset.ready = "yes";

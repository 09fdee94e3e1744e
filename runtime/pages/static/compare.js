// The page of a comparison: errors over the order of execution.

const errors = plain("errors-data");

draw("errors", () => {
  const all = Object.values(errors).flatMap(phase => phase.relative_error).filter(error => error > 0);
  const least = 10 ** Math.floor(Math.log10(Math.min(...all, 1e-3)) - 0.5);
  const most = 10 ** Math.ceil(Math.log10(Math.max(...all, 1e-2)) + 0.2);
  const tones = ["dependency", "st", "vx", "sx", "mx"];
  const traces = Object.entries(errors).map(([name, phase], index) => ({
    type: "scatter", mode: "lines+markers", name, x: phase.place,
    // A figure that is not finite is off the scale.
    y: phase.relative_error.map(error => error === null ? most : Math.max(error, least)),
    line: { color: colour(tones[index]), width: phase.main ? 2 : 1 },
    marker: {
      color: colour(tones[index]), size: phase.agrees.map(agrees => agrees ? 5 : 9),
      line: { width: 0 }, symbol: phase.agrees.map(agrees => agrees ? "circle" : "x"),
    },
    text: phase.value.map((value, place) => [
      `<b>${value.replaceAll("<", "&lt;")}</b> in ${name}`,
      `relative error ${phase.relative_error[place]?.toPrecision(3) ?? "not finite"}`,
      `cosine ${phase.cosine[place]?.toFixed(6) ?? "not finite"}`,
    ].join("<br>")),
    hovertemplate: "%{text}<extra></extra>",
  }));
  return [traces, layout({
    hovermode: "closest", margin: { l: 8, r: 12, t: 60, b: 8 },
    xaxis: axis({ title: { text: "value, in the order of execution" }, rangemode: "tozero" }),
    yaxis: axis({ ...decades(), tickformat: "~e", title: { text: "relative error" },
      range: [Math.log10(least), Math.log10(most)] }),
  })];
}, { displayModeBar: !narrow(), modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage"] });

document.documentElement.dataset.ready = "yes";

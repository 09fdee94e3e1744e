// Plots in the page's own colours, drawn again when the reader changes between light and dark.

const drawings = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axis(more = {}) {
  const line = colour("line");
  return { gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true, ...more };
}

// A logarithmic axis with numbers at powers of ten and lines between them.
function decades() {
  return {
    type: "log", dtick: 1, tickformat: "~g", gridcolor: colour("dependency"), minor: { dtick: "D1", gridcolor: colour("line") },
  };
}

function layout(more = {}) {
  const ink = colour("ink");
  return {
    font: { family: "system-ui, sans-serif", size: 13, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 12, t: 12, b: 8 },
    hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: ink, size: 13 }, align: "left" },
    legend: {
      orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal",
      ...(narrow() ? { entrywidthmode: "fraction", entrywidth: 0.48 } : {}),
    },
    modebar: { color: colour("soft"), activecolor: colour("accent"), bgcolor: "rgba(0,0,0,0)" },
    ...more,
  };
}

const CONFIG = {
  responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset",
};

// `make` gives traces and a layout; it is asked again whenever the colours change.
function draw(id, make, config = {}) {
  const show = () => {
    const [traces, shape] = make();
    return Plotly.react(id, traces, shape, { ...CONFIG, ...config });
  };
  drawings.set(id, show);
  return show();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawings.forEach(show => show()));

function narrow() {
  return matchMedia("(max-width: 48rem)").matches;
}

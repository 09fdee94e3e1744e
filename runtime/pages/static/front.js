// The page of a study: designs by any two figures, coloured by a parameter, and how to have one again.

const designs = plain("designs");
const menus = ["across", "up", "coloured"].map(id => document.getElementById(id));
const [across, up, coloured] = menus;
const TONES = ["ld", "mx", "vx", "sx", "bad", "channel"];
const MARKS = ["circle", "square", "triangle-up", "diamond", "cross", "star"];
const WIDE = 20;

designs.figures.forEach((figure, index) => {
  for (const menu of [across, up]) menu.append(element("option", figure.label, { value: index }));
});
coloured.append(element("option", "nothing", { value: -1 }));
designs.parameters.forEach((parameter, index) => {
  coloured.append(element("option", parameter.name, { value: index }));
});
up.value = Math.min(1, designs.figures.length - 1);
// The first parameter that the front leaves open, in as many values as there are colours at most.
const onFront = designs.trial.map((_, place) => place).filter(place => designs.front[place]);
coloured.value = designs.parameters.findIndex(parameter => {
  const values = new Set(onFront.map(place => parameter.values[place]));
  return values.size > 1 && values.size <= TONES.length;
});

function shown(figure, value) {
  return value.toLocaleString("en", { minimumFractionDigits: figure.digits, maximumFractionDigits: figure.digits });
}

function scale(figure) {
  const values = figure.values.filter(value => value !== null);
  const wide = Math.min(...values) > 0 && Math.max(...values) > WIDE * Math.min(...values);
  const title = { text: `${figure.label}, ${figure.more ? "more" : "less"} is better` };
  return axis(wide ? { ...decades(), dtick: "D2", tickformat: "~s", title } : { title });
}

function text(place) {
  const figures = designs.figures.filter(figure => figure.values[place] !== null);
  return [
    `<b>trial ${designs.trial[place]}</b>${designs.front[place] ? ", on the front" : ""}`,
    ...figures.map(figure => `${figure.label}: ${shown(figure, figure.values[place])}`),
    ...designs.parameters.map(parameter => `${parameter.name}: ${parameter.values[place].replaceAll("<", "&lt;")}`),
  ].join("<br>");
}

function trace(name, places, look) {
  const [x, y] = [across, up].map(menu => places.map(place => designs.figures[menu.value].values[place]));
  return {
    type: "scatter", mode: "markers", name, x, y, customdata: places.map(place => designs.trial[place]),
    text: places.map(text), hovertemplate: "%{text}<extra></extra>", ...look,
  };
}

function figure() {
  const rest = designs.trial.map((_, place) => place).filter(place => !designs.front[place]);
  const parameter = designs.parameters[coloured.value];
  const used = new Set(onFront.map(place => parameter?.values[place]));
  const values = parameter ? parameter.choices.filter(value => used.has(value)) : [""];
  const traces = [trace("other designs", rest, { marker: { size: 6, color: colour("dependency") } })];
  values.forEach((value, index) => {
    const places = onFront.filter(place => !parameter || parameter.values[place] === value);
    const name = parameter ? `front, ${parameter.name} ${value}` : "front";
    const marker = {
      size: 11, color: colour(TONES[index % TONES.length]), symbol: MARKS[index % MARKS.length],
      line: { color: colour("paper"), width: 1 },
    };
    traces.push(trace(name, places, { marker }));
  });
  return [traces, layout({
    hovermode: "closest", margin: { l: 8, r: 12, t: 60, b: 8 }, showlegend: true,
    xaxis: scale(designs.figures[across.value]), yaxis: scale(designs.figures[up.value]),
  })];
}

const again = document.getElementById("again");

function choose(trial) {
  document.querySelectorAll("tr.chosen").forEach(row => row.classList.remove("chosen"));
  for (const table of ["front", "trials"]) document.getElementById(`${table}-${trial}`)?.classList.add("chosen");
  const lines = designs.commands[trial];
  again.hidden = !lines;
  again.replaceChildren(
    element("strong", `Trial ${trial} again`), ...(lines ?? []).flatMap(line => [document.createElement("br"), element("code", line)]),
  );
}

draw("plot", figure, { displayModeBar: !narrow(), modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage"] });
for (const menu of menus) menu.addEventListener("change", () => drawings.get("plot")());
document.getElementById("plot").on("plotly_click", event => choose(event.points[0].customdata));
document.getElementById("front").tBodies[0].addEventListener("click", event => {
  choose(Number(event.target.closest("tr").id.split("-").at(-1)));
});

document.documentElement.dataset.ready = "yes";

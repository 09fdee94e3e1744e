// Two phases of the IR side by side. Only the lines in sight are in the document: a program has many.

const LINE_HEIGHT = 20;
const BEYOND = 20;

class Pane {
  constructor(side, phases, chosen, choose) {
    this.phases = phases;
    this.choose = choose;
    this.box = document.querySelector(`[data-lines="${side}"]`);
    this.found = document.querySelector(`[data-found="${side}"]`);
    this.menu = document.querySelector(`[data-phase="${side}"]`);
    this.menu.append(...phases.map((phase, index) => element("option", phase.name, { value: index })));
    this.menu.addEventListener("change", () => this.open(Number(this.menu.value)));
    this.menu.closest(".tools").querySelectorAll("[data-step]").forEach(button => {
      button.addEventListener("click", () => this.step(Number(button.dataset.step)));
    });
    this.window = element("div", "", { className: "window" });
    this.height = element("div", "");
    this.box.append(this.height, this.window);
    this.box.addEventListener("scroll", () => this.render());
    new ResizeObserver(() => this.render()).observe(this.box);
    this.node = -1;
    this.open(chosen);
  }

  open(index) {
    this.menu.value = index;
    this.phase = this.phases[index];
    this.lines ??= new Map();
    if (!this.lines.has(index)) this.lines.set(index, this.phase.text.split("\n"));
    this.text = this.lines.get(index);
    this.height.style.height = `${this.text.length * LINE_HEIGHT}px`;
    this.box.scrollTo(0, 0);
    this.mark(this.node);
  }

  // Mark the lines of a node, and go to the first of them (or to the instruction's own), unless the reader is there.
  mark(node, row = -1, move = true) {
    this.node = node;
    const sets = new Set(this.phase.sets.flatMap((nodes, index) => nodes.includes(node) ? [index] : []));
    this.marked = this.phase.places.flatMap((place, line) => sets.has(place) ? [line] : []);
    this.isMarked = new Set(this.marked);
    const own = row >= 0 && this.phase.first_row >= 0 ? this.marked.indexOf(this.phase.first_row + row) : 0;
    this.at = Math.max(own, 0);
    this.go(move);
  }

  step(by) {
    if (!this.marked.length) return;
    this.at = (this.at + by + this.marked.length) % this.marked.length;
    this.go();
  }

  go(move = true) {
    const some = this.marked.length;
    this.found.value = this.node < 0 ? `${count(this.text.length)} lines`
      : some ? `line ${count(this.at + 1)} of ${count(some)} of the node` : "no line of the node";
    if (some && move) this.box.scrollTop = Math.max(this.marked[this.at] - 4, 0) * LINE_HEIGHT;
    this.render();
  }

  render() {
    const first = Math.max(Math.floor(this.box.scrollTop / LINE_HEIGHT) - BEYOND, 0);
    const last = Math.min(first + Math.ceil(this.box.clientHeight / LINE_HEIGHT) + 2 * BEYOND, this.text.length);
    const made = [];
    for (let line = first; line < last; line++) {
      const place = this.phase.places[line], nodes = place < 0 ? [] : this.phase.sets[place];
      const item = element("div", "", { className: "line" });
      item.classList.toggle("linked", nodes.length > 0);
      item.classList.toggle("chosen", this.isMarked.has(line));
      item.append(element("span", count(line + 1), { className: "place" }), this.text[line]);
      if (nodes.length) {
        const row = this.phase.first_row < 0 ? -1 : line - this.phase.first_row;
        item.title = nodes.map(nodeName).join("\n");
        item.addEventListener("click", () => this.choose(nodes.includes(this.node) ? this.node : nodes[0], row, this));
      }
      made.push(item);
    }
    this.window.style.transform = `translateY(${first * LINE_HEIGHT}px)`;
    this.window.replaceChildren(...made);
  }
}

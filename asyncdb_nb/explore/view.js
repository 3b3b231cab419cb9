// The controls of a view: they stand in place of the table that the notebook stores, for as long as the kernel answers.
// Every text is set as text, never as markup.

const STYLE = `
.asyncdb-view { font-size: var(--jp-ui-font-size1, 13px); color: var(--jp-ui-font-color1, inherit); }
.asyncdb-view .pane { max-height: 30em; overflow: auto; border: 1px solid var(--jp-border-color2, #8886); }
.asyncdb-view table.asyncdb { border-collapse: separate; border-spacing: 0; margin: 0; font-size: inherit; }
.asyncdb-view table.asyncdb :is(th, td) { text-align: left; vertical-align: top; padding: 3px 8px; max-width: 30em; }
.asyncdb-view table.asyncdb .number { text-align: right; font-variant-numeric: tabular-nums; }
.asyncdb-view thead { position: sticky; top: 0; background: var(--jp-layout-color0, Canvas); z-index: 1; }
.asyncdb-view table.asyncdb tr.filters th { border-bottom: 1px solid var(--jp-border-color1, #8889); padding-top: 0; }
.asyncdb-view table.asyncdb td { white-space: pre; overflow: hidden; text-overflow: ellipsis; cursor: default; }
.asyncdb-view table.asyncdb td.open { white-space: pre-wrap; overflow-wrap: anywhere; }
.asyncdb-view .null { opacity: .55; font-style: italic; }
.asyncdb-view small { opacity: .7; font-weight: normal; display: block; white-space: nowrap; }
.asyncdb-view button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
.asyncdb-view th button { font-weight: 600; text-align: inherit; width: 100%; white-space: nowrap; }
.asyncdb-view :is(button, input):focus-visible { outline: 2px solid #0072B2; }
.asyncdb-view .bar button { border: 1px solid var(--jp-border-color1, #8889); border-radius: 2px; padding: 1px 8px; }
.asyncdb-view button:disabled { opacity: .4; cursor: default; }
.asyncdb-view input { font: inherit; font-weight: normal; color: inherit; background: transparent; width: 100%; min-width: 6em;
  box-sizing: border-box; border: 1px solid var(--jp-border-color2, #8886); border-radius: 2px; padding: 1px 4px; }
.asyncdb-view .bar { display: flex; gap: .8em; align-items: center; padding: 5px 0; flex-wrap: wrap; }
.asyncdb-view .said { white-space: pre-wrap; overflow-wrap: anywhere; }
.asyncdb-view .failed { color: var(--jp-error-color1, #c62828); }
.asyncdb-view.busy tbody { opacity: .45; }
`;
const HELP = "Any text to look for; or =, !=, <, <=, >, >= and a value; = null finds NULL. The server filters all rows.";
const NUMBERS = /^(smallint|integer|bigint|numeric|real|double precision|oid|money)\b(?!.*\[)/;
const WAIT = 300; // milliseconds without a key, before a filter is asked for
const PATIENCE = 5000; // milliseconds without an answer, before it is said

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

class Live {
  constructor(model) {
    this.model = model;
    this.number = 0;
    this.sort = null;
    this.filters = {};
    this.first = this.seen = 0; // rows before the page that is asked for, and before the one that is seen
    this.total = null;
    model.on("msg:custom", (message) => this.heard(message));
    model.on("comm_live_update", () => this.ended()); // the kernel was restarted or has ended
    this.hello();
  }

  hello() {
    this.model.send({ kind: "hello", number: ++this.number });
  }

  ask(kind = "page") {
    clearTimeout(this.timer);
    this.number += 1;
    this.model.send({ kind, number: this.number, sort: this.sort, filters: this.filters, first: this.first });
    this.busy(kind !== "stop");
    this.say(kind === "stop" ? "Stopping …" : "");
    const number = this.number;
    this.patience = setTimeout(() => {
      if (this.number === number) this.say("The kernel has not answered yet: it is busy, or it was restarted. Then run the cell again.");
    }, PATIENCE);
  }

  heard(message) {
    if (message.number !== this.number) return; // the answer to an earlier question
    clearTimeout(this.patience);
    if (message.heard) return;
    if (message.columns) this.begin(message);
    if (!this.root) return;
    this.busy(false);
    if (message.stopped || message.error) this.first = this.seen; // what was asked for is not there
    if (message.stopped) this.say("Stopped.");
    if (message.error) this.say(message.error, true);
    if (message.total !== undefined) this.total = message.total;
    if (message.rows) this.show(message);
    this.place();
  }

  // Build the controls, and put them into the stored table wherever the notebook shows it, now or later.
  begin({ title, columns, size }) {
    this.size = size;
    this.columns = columns;
    this.heads = columns.map(([name, type], place) => {
      const arrow = element("span");
      const button = element("button", { title: "Sort" }, name, arrow, element("small", {}, type));
      button.addEventListener("click", () => this.turn(place));
      const input = element("input", { type: "search", title: HELP, placeholder: "filter" });
      input.setAttribute("aria-label", `Filter ${name}`);
      for (const kind of ["keydown", "keyup", "keypress"]) input.addEventListener(kind, (event) => event.stopPropagation());
      input.addEventListener("input", () => this.filter(place, input.value));
      const className = this.isNumber(place) ? "number" : "";
      const head = element("th", { scope: "col", className }, button);
      return { arrow, head, below: element("th", {}, input) };
    });
    const thead = element("thead", {},
      element("tr", {}, ...this.heads.map(({ head }) => head)),
      element("tr", { className: "filters" }, ...this.heads.map(({ below }) => below)));
    this.body = element("tbody");
    this.body.addEventListener("click", (event) => event.target.closest("td")?.classList.toggle("open"));
    const button = (text, act) => {
      const made = element("button", {}, text);
      made.addEventListener("click", act);
      return made;
    };
    this.previous = button("‹ Previous", () => this.go(Math.max(this.seen - this.size, 0)));
    this.next = button("Next ›", () => this.go(this.seen + this.size));
    this.counting = button("Count", () => this.ask("count"));
    this.stop = button("Stop", () => this.ask("stop"));
    this.where = element("span", { className: "where" });
    this.said = element("span", { className: "said" });
    this.said.setAttribute("role", "status");
    this.root = element("div", { className: "asyncdb-view" },
      element("style", {}, STYLE),
      element("div", { className: "bar" }, element("b", {}, title)),
      element("div", { className: "pane" }, element("table", { className: "asyncdb" }, thead, this.body)),
      element("div", { className: "bar" }, this.previous, this.where, this.next, this.counting, this.stop, this.said));
    this.mount();
    this.observer = new MutationObserver(() => this.mount());
    this.observer.observe(document.body, { childList: true, subtree: true });
  }

  mount() {
    const place = document.getElementById(`asyncdb-view-${this.model.get("mark")}`);
    if (place && !place.contains(this.root) && !place.querySelector(".asyncdb-view")) place.replaceChildren(this.root);
  }

  show({ rows, first, more }) {
    this.first = this.seen = first;
    this.more = more;
    if (!more && (rows.length || !first)) this.total = first + rows.length;
    this.body.replaceChildren(...rows.map((row) => element("tr", {}, ...row.map((value, place) => this.cell(value, place)))));
    this.body.closest(".pane").scrollTop = 0;
  }

  isNumber(place) {
    return NUMBERS.test(this.columns[place][1]);
  }

  cell(value, place) {
    if (value === null) return element("td", { className: "null" }, "NULL");
    const cut = Array.isArray(value);
    const text = cut ? `${value[0]}…` : value;
    return element("td", { className: this.isNumber(place) ? "number" : "", title: cut ? "cut: the first characters" : "" }, text);
  }

  place() {
    const count = this.body.rows.length;
    const of = this.total === null ? ", and more" : ` of ${this.total.toLocaleString("en")}`;
    const from = (this.seen + 1).toLocaleString("en");
    this.where.textContent = count ? `rows ${from}–${(this.seen + count).toLocaleString("en")}${of}` : "no rows";
    this.previous.disabled = this.seen === 0;
    this.next.disabled = !this.more;
    this.counting.hidden = this.total !== null;
    this.heads.forEach(({ arrow, head }, place) => {
      const sorted = this.sort && this.sort[0] === place;
      arrow.textContent = sorted ? (this.sort[1] ? " ▼" : " ▲") : "";
      head.setAttribute("aria-sort", sorted ? (this.sort[1] ? "descending" : "ascending") : "none");
    });
  }

  turn(place) {
    const descending = this.sort && this.sort[0] === place ? this.sort[1] : null;
    this.sort = descending === null ? [place, false] : descending ? null : [place, true];
    this.go(0);
  }

  filter(place, wanted) {
    this.filters[place] = wanted;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.total = null;
      this.go(0);
    }, WAIT);
  }

  go(first) {
    this.first = first;
    this.ask();
  }

  say(text, failed = false) {
    if (!this.said) return;
    this.said.textContent = text;
    this.said.classList.toggle("failed", failed);
  }

  busy(is) {
    this.root.classList.toggle("busy", is);
    this.stop.hidden = !is;
  }

  ended() {
    if (!this.root) return;
    clearTimeout(this.patience);
    this.busy(false);
    for (const control of this.root.querySelectorAll("button, input")) control.disabled = true;
    this.say("The kernel has ended: these rows are what was seen last. Run the cell again.");
  }

  forget() {
    this.observer?.disconnect();
    clearTimeout(this.timer);
    clearTimeout(this.patience);
  }
}

export default {
  initialize({ model }) {
    const live = new Live(model);
    return () => live.forget();
  },
};

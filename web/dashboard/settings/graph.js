// Where the steps of a workflow are drawn: in columns, so that what leads on leads to the right, and what goes back runs below.

const CHARACTER = 7.2;
const PADDING = 14;
const STEP_HEIGHT = 34;
const ROW = 56;
const GAP = 56;
const MARGIN = 12;
const ARC = 14;

// {width, height, steps: [{name, x, y, w, h, isFirst}], arrows: [{key, path, head, isBack}]} of [{from_step?, to_step}].
export function layout(transitions) {
  const edges = transitions.filter(({ from_step }) => from_step);
  const names = [...new Set(transitions.flatMap(({ from_step, to_step }) => [from_step, to_step]).filter(Boolean))];
  const given = transitions.filter(({ from_step }) => !from_step).map(({ to_step }) => to_step);
  const { depths, back } = layers([...new Set([...given, ...names])], edges);
  const columns = [];
  for (const name of names) (columns[depths.get(name)] ??= []).push(name);
  const rows = Math.max(...columns.map((column) => column.length));

  const spans = edges.filter((edge) => !back.has(edge) && depths.get(edge.to_step) - depths.get(edge.from_step) > 1);
  const top = MARGIN + (spans.length && (spans.length + 1) * ARC);
  const floor = top + rows * ROW - (ROW - STEP_HEIGHT);
  const placed = new Map();
  let x = MARGIN;
  for (const column of columns) {
    const w = Math.max(...column.map((name) => name.length)) * CHARACTER + 2 * PADDING;
    column.forEach((name, row) => {
      const y = top + ((rows - column.length) / 2 + row) * ROW;
      placed.set(name, { name, x, y, w, h: STEP_HEIGHT, isFirst: given.includes(name) });
    });
    x += w + GAP;
  }

  let [above, below] = [0, 0];
  const arrows = edges.map((edge) => {
    const [from, to] = [placed.get(edge.from_step), placed.get(edge.to_step)];
    const key = `${edge.from_step}>${edge.to_step}`;
    if (back.has(edge)) return { key, isBack: true, ...arc(from, to, floor + ARC * (1 + ++below), 1) };
    return { key, isBack: false, ...(spans.includes(edge) ? arc(from, to, top - ARC * (1 + ++above), -1) : curve(from, to)) };
  });
  return { width: x - GAP + MARGIN, height: floor + ARC * (below + 1) + MARGIN, steps: [...placed.values()], arrows };
}

// The column of each step, the longest way from a first one without the transitions that lead `back` to a step on the way.
function layers(names, edges) {
  const back = new Set();
  const state = new Map();
  const order = [];
  const visit = (name) => {
    state.set(name, "open");
    for (const edge of edges) {
      if (edge.from_step !== name) continue;
      if (state.get(edge.to_step) === "open") back.add(edge);
      else if (!state.has(edge.to_step)) visit(edge.to_step);
    }
    state.set(name, "done");
    order.unshift(name);
  };
  for (const name of names) if (!state.has(name)) visit(name);
  const depths = new Map(order.map((name) => [name, 0]));
  for (const name of order) {
    for (const edge of edges) {
      if (edge.from_step !== name || back.has(edge)) continue;
      depths.set(edge.to_step, Math.max(depths.get(edge.to_step), depths.get(name) + 1));
    }
  }
  return { depths, back };
}

// To the right, from side to side.
function curve(from, to) {
  const [x1, y1, x2, y2] = [from.x + from.w, from.y + from.h / 2, to.x, to.y + to.h / 2];
  const middle = (x1 + x2) / 2;
  return { path: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2 - 7} ${y2}`, head: `M${x2} ${y2}l-8 -4v8z` };
}

// Around the steps in between, at the height `y`: below them (1) or above them (-1).
function arc(from, to, y, side) {
  const edge = ({ y: top, h }) => (side > 0 ? top + h : top);
  const aside = from.x <= to.x ? 14 : -14;
  const [x1, x2] = [from.x + from.w / 2 + aside, to.x + to.w / 2 - aside];
  const [y1, y2] = [edge(from), edge(to)];
  return {
    path: `M${x1} ${y1}C${x1} ${y} ${x1} ${y} ${x1 + aside * 2} ${y}H${x2 - aside * 2}C${x2} ${y} ${x2} ${y} ${x2} ${y2 + 7 * side}`,
    head: `M${x2} ${y2}l-4 ${8 * side}h8z`,
  };
}

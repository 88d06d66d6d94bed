// Where the boxes and arrows of a service map go: layers by depth, from the entry at the top to the stores at the bottom.
// An arrow that passes layers has a place of its own in each, so that it runs between boxes and not under them.

export interface Point {
  x: number;
  y: number;
}

export interface Box extends Point {
  name: string;
  width: number;
  height: number;
}

export interface Link {
  from: string;
  to: string;
}

export interface Arrow extends Link {
  /** From the lower edge of one box to the upper edge of the other; between each two of them the line is a curve. */
  points: Point[];
  /** The middle of its label. */
  label: Point;
}

export interface Picture {
  width: number;
  height: number;
  boxes: Box[];
  arrows: Arrow[];
}

export interface Sizes {
  /** Of the whole picture. */
  width: number;
  /** A box is narrower where its layer is full, down to `least`; then the picture is wider than asked for. */
  box: { width: number; least: number; height: number };
  label: { width: number; height: number };
  /** Between two layers. */
  between: number;
}

/** Of the place where an arrow passes a layer. */
const PASSAGE = 8;
/** The least between two places of a layer. */
const AIR = 5;

/** A box, or the place where an arrow passes a layer (then it has no name). */
interface Place {
  name: string | null;
  x: number;
  width: number;
}

/** How far down each name stands: below all that lean on it. What leans on nothing stands in the last layer. */
export function depths(names: string[], links: Link[]): Map<string, number> {
  const known = new Map<string, number>();
  // In a circle one link has to point upwards: that on which the walk meets itself.
  const walking = new Set<string>();
  const depth = (name: string): number => {
    const before = known.get(name);
    if (before !== undefined) return before;
    walking.add(name);
    const above = links.filter(({ from, to }) => to === name && !walking.has(from)).map(({ from }) => depth(from) + 1);
    walking.delete(name);
    const found = Math.max(0, ...above);
    known.set(name, found);
    return found;
  };
  names.forEach(depth);
  const last = Math.max(0, ...known.values());
  for (const name of names) {
    const leans = links.some(({ from }) => from === name);
    if (!leans && links.some(({ to }) => to === name)) known.set(name, last);
  }
  return known;
}

export function layout(names: string[], links: Link[], sizes: Sizes): Picture {
  const depth = depths(names, links);
  const of = (name: string) => depth.get(name) ?? 0;
  const layers: Place[][] = [];
  const layer = (index: number) => (layers[index] ??= []);
  const places = new Map<string, Place>();
  for (const name of names) {
    const place: Place = { name, x: 0, width: sizes.box.width };
    places.set(name, place);
    layer(of(name)).push(place);
  }
  const ways = links.flatMap((link) => {
    const [from, to] = [places.get(link.from), places.get(link.to)];
    if (!from || !to || from === to) return [];
    // Upwards, as circles have it, an arrow passes nothing: it is drawn straight.
    const passed = Array.from({ length: Math.max(0, of(link.to) - of(link.from) - 1) }, (_, i) => {
      const place: Place = { name: null, x: 0, width: PASSAGE };
      layer(of(link.from) + 1 + i).push(place);
      return place;
    });
    return [{ link, way: [from, ...passed, to] }];
  });
  arrange(
    layers,
    ways.map(({ way }) => way),
  );
  const box = { width: boxWidth(layers, sizes), height: sizes.box.height };
  for (const place of places.values()) place.width = box.width;
  const width = Math.max(sizes.width, ...layers.map((row) => row.reduce((sum, place) => sum + place.width, 0) + AIR * (row.length + 1)));
  for (const row of layers) spread(row, width);

  const step = sizes.box.height + sizes.between;
  const boxes = names.map((name): Box => ({ name, x: (places.get(name)?.x ?? 0) - box.width / 2, y: of(name) * step, ...box }));
  const ports = { out: fan(ways, "out"), in: fan(ways, "in") };
  const arrows = ways.map(({ link, way }, index): Arrow => {
    const top = of(link.from);
    const points: Point[] = [{ x: ports.out[index] ?? 0, y: top * step + sizes.box.height }];
    way.slice(1, -1).forEach((place, i) => {
      const y = (top + 1 + i) * step;
      points.push({ x: place.x, y }, { x: place.x, y: y + sizes.box.height });
    });
    points.push({ x: ports.in[index] ?? 0, y: of(link.to) * step });
    return { ...link, points, label: { x: 0, y: 0 } };
  });
  label(arrows, boxes, sizes.label, width);
  return { width, height: Math.max(0, layers.length - 1) * step + sizes.box.height, boxes, arrows };
}

/** The widest box with which the fullest layer still fits. */
function boxWidth(layers: Place[][], { width, box }: Sizes): number {
  const room = layers.map((row) => {
    const boxes = row.filter(({ name }) => name !== null).length;
    return (width - AIR * (row.length + 1) - PASSAGE * (row.length - boxes)) / boxes;
  });
  return Math.max(box.least, Math.min(box.width, ...room));
}

/** Orders each layer so that few arrows cross: by the middle of the neighbours, down and up again; then neighbours change places as long as that helps. */
function arrange(layers: Place[][], ways: Place[][]) {
  const neighbours = new Map<Place, Place[]>();
  for (const way of ways)
    way.forEach((place, i) => neighbours.set(place, [...(neighbours.get(place) ?? []), ...way.slice(Math.max(0, i - 1), i), ...way.slice(i + 1, i + 2)]));
  let best = layers.map((row) => [...row]);
  let fewest = crossings(best, ways);
  for (let round = 0; round < 8 && fewest > 0; round++) {
    const down = round % 2 === 0;
    for (const index of down ? layers.keys() : [...layers.keys()].reverse()) {
      const row = layers[index] ?? [];
      const beside = layers[index + (down ? -1 : 1)];
      if (!beside) continue;
      const middle = new Map(
        row.map((place, i) => {
          const seen = (neighbours.get(place) ?? []).map((other) => beside.indexOf(other)).filter((at) => at >= 0);
          const at = seen.length > 0 ? seen.reduce((a, b) => a + b, 0) / seen.length / beside.length : i / row.length;
          return [place, at];
        }),
      );
      row.sort((a, b) => (middle.get(a) ?? 0) - (middle.get(b) ?? 0));
    }
    const now = crossings(layers, ways);
    if (now < fewest) [fewest, best] = [now, layers.map((row) => [...row])];
  }
  best.forEach((row, index) => layers[index]?.splice(0, row.length, ...row));
  for (let better = fewest > 0; better; ) {
    better = false;
    for (const row of layers)
      for (let i = 1; i < row.length; i++) {
        swap(row, i);
        const now = crossings(layers, ways);
        if (now < fewest) [fewest, better] = [now, true];
        else swap(row, i);
      }
  }
}

function swap(row: Place[], i: number) {
  const [a, b] = row.slice(i - 1, i + 1);
  if (a && b) row.splice(i - 1, 2, b, a);
}

/** How many pairs of arrows cross between two layers. */
function crossings(layers: Place[][], ways: Place[][]): number {
  const at = new Map(layers.flatMap((row, depth) => row.map((place, i) => [place, { depth, i }] as const)));
  const steps = ways.flatMap((way) =>
    way.slice(1).flatMap((to, i) => {
      const [a, b] = [at.get(way[i] as Place), at.get(to)];
      return a && b ? [{ depth: a.depth, a: a.i, b: b.i }] : [];
    }),
  );
  let count = 0;
  steps.forEach((one, i) => {
    for (const other of steps.slice(i + 1)) if (one.depth === other.depth && (one.a - other.a) * (one.b - other.b) < 0) count++;
  });
  return count;
}

/** Sets the middles of a layer's places, with the same air between each two. */
function spread(row: Place[], width: number) {
  const taken = row.reduce((sum, place) => sum + place.width, 0);
  const air = Math.min((width - taken) / (row.length + 1), 90);
  let x = (width - taken - air * (row.length - 1)) / 2;
  for (const place of row) {
    place.x = x + place.width / 2;
    x += place.width + air;
  }
}

/** Where along a box's edge each arrow leaves (or comes in): in the order of where they go to, so that none cross there. */
function fan(ways: { way: Place[] }[], side: "out" | "in"): number[] {
  const ends = ways.map(({ way }) => (side === "out" ? { own: way[0], next: way[1] } : { own: way.at(-1), next: way.at(-2) }));
  return ends.map(({ own, next }) => {
    const same = ends.filter((end) => end.own === own).sort((a, b) => (a.next?.x ?? 0) - (b.next?.x ?? 0));
    const place = same.findIndex((end) => end.next === next);
    const width = own?.width ?? 0;
    return (own?.x ?? 0) - width / 2 + (width * (place + 1)) / (same.length + 1);
  });
}

/** A point of the curve between two points, both ends of which are vertical. */
function along(from: Point, to: Point, t: number): Point {
  const half = (from.y + to.y) / 2;
  const mix = (a: number, b: number, c: number, d: number) => (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t ** 2 * c + t ** 3 * d;
  return { x: mix(from.x, from.x, to.x, to.x), y: mix(from.y, half, half, to.y) };
}

/** An arrow's line, for SVG. */
export function path(points: Point[]): string {
  const at = ({ x, y }: Point) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  return points
    .map((point, i) => {
      const before = points[i - 1];
      if (!before) return `M${at(point)}`;
      const half = (before.y + point.y) / 2;
      return `C${at({ x: before.x, y: half })} ${at({ x: point.x, y: half })} ${at(point)}`;
    })
    .join("");
}

/** Where on a curve a label may be, the middle first. */
const STOPS = Array.from({ length: 17 }, (_, i) => 0.5 + (i % 2 === 0 ? 1 : -1) * Math.ceil(i / 2) * 0.04);
/** What hiding one of the twenty points of another arrow's curve costs; a square pixel of a box or a label costs WORDS. */
const LINE = 4;
const WORDS = 10;

/** Puts each label on its arrow, where it lies on no box, on no other label and on few other arrows; as little as can be, where there is no such place. */
function label(arrows: Arrow[], boxes: Box[], { width: w, height: h }: { width: number; height: number }, width: number) {
  const solid = boxes.map((box) => ({ x: box.x + box.width / 2, y: box.y + box.height / 2, w: box.width, h: box.height }));
  const curves = new Map(
    arrows.map((arrow) => [arrow, arrow.points.slice(1).flatMap((to, i) => Array.from({ length: 20 }, (_, k) => along(arrow.points[i] ?? to, to, k / 20)))] as const),
  );
  const placed = new Map<Arrow, Point>();
  const over = (arrow: Arrow, at: Point) => {
    let sum = 0;
    const on = (one: Point, ow: number, oh: number) =>
      Math.max(0, (w + ow) / 2 + 2 - Math.abs(at.x - one.x)) * Math.max(0, (h + oh) / 2 + 2 - Math.abs(at.y - one.y));
    for (const box of solid) sum += WORDS * on(box, box.w, box.h);
    for (const [other, point] of placed) if (other !== arrow) sum += WORDS * on(point, w, h);
    for (const [other, points] of curves) if (other !== arrow) for (const point of points) sum += on(point, 0, 0) > 0 ? LINE : 0;
    return sum;
  };
  // Who has the fewest places chooses first; then everyone may move to where there is more room now.
  const order = [...arrows].sort((a, b) => a.points.length - b.points.length);
  for (let round = 0; round < 4; round++)
    for (const arrow of order) {
      const places = STOPS.flatMap((t) =>
        arrow.points.slice(1).map((to, i) => {
          const { x, y } = along(arrow.points[i] ?? to, to, t);
          return { x: Math.min(Math.max(x, w / 2), width - w / 2), y };
        }),
      );
      let least = Infinity;
      for (const place of places) {
        const bad = over(arrow, place);
        if (bad < least) [arrow.label, least] = [place, bad];
      }
      placed.set(arrow, arrow.label);
    }
}

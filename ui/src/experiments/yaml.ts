/** A manifest as it is written: keys in their order. */
export type Tree = string | number | boolean | Tree[] | { [key: string]: Tree };

/** Writes a tree as block-style YAML, such that every YAML 1.1 and 1.2 reader takes each string for that string. */
export function write(tree: Tree): string {
  return block(tree, 0);
}

function block(tree: Tree, depth: number): string {
  const pad = "  ".repeat(depth);
  if (Array.isArray(tree)) {
    // An item's own first line stands behind its dash.
    return tree.map((item) => (isLeaf(item) ? `${pad}- ${leaf(item)}\n` : `${pad}- ${block(item, depth + 1).slice(pad.length + 2)}`)).join("");
  }
  if (typeof tree !== "object") return `${pad}${leaf(tree)}\n`;
  return Object.entries(tree)
    .map(([key, value]) => {
      const name = scalar(key);
      return isLeaf(value) ? `${pad}${name}: ${leaf(value)}\n` : `${pad}${name}:\n${block(value, depth + 1)}`;
    })
    .join("");
}

function isLeaf(tree: Tree): tree is string | number | boolean {
  return typeof tree !== "object" || Object.keys(tree).length === 0;
}

function leaf(tree: Tree): string {
  if (typeof tree === "object") return Array.isArray(tree) ? "[]" : "{}";
  return typeof tree === "string" ? scalar(tree) : String(tree);
}

// Tabs, control characters, and what YAML 1.1 takes for the end of a line.
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const PLAIN = /^[A-Za-z_/][\w./-]*$/;
// What some reader takes for a boolean or nothing.
const RESERVED = /^(y|n|yes|no|on|off|true|false|null|nan|inf)$/i;
// "1:30" was ninety to YAML 1.1; a plain word that begins with a digit is left to no reader's mercy but a duration's.
const DURATION = /^(\d+(\.\d+)?(ns|us|ms|s|m|h))+$/;

function scalar(text: string): string {
  if ((PLAIN.test(text) && !RESERVED.test(text)) || DURATION.test(text)) return text;
  if (UNPRINTABLE.test(text)) return escaped(text);
  return text.includes("'") && !/["\\]/.test(text) ? `"${text}"` : `'${text.replaceAll("'", "''")}'`;
}

function escaped(text: string): string {
  const strange = new RegExp(UNPRINTABLE.source, "g");
  return `"${text.replace(/["\\]/g, "\\$&").replace(/\n/g, "\\n").replace(/\t/g, "\\t").replace(strange, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)}"`;
}

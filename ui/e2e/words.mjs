// The page's dictionary, to see on the page itself that nothing is left in the other language.

import { readFile } from "node:fs/promises";

/** `[{key, ja, en}]`, read from the page's own source. */
export async function dictionary() {
  const entry = /^ {2}(\w+): \{\s*ja: "([^"]*)",\s*en: "([^"]*)",?\s*\},/gm;
  const all = [];
  for (const [file, fewest] of [["i18n.ts", 100], ["experiments/words.ts", 100], ["map/words.ts", 15], ["budget/words.ts", 50], ["lab/words.ts", 60]]) {
    const source = await readFile(new URL(`../src/${file}`, import.meta.url), "utf8");
    const words = [...source.matchAll(entry)].map(([, key, ja, en]) => ({ key, ja, en }));
    if (words.length < fewest) throw new Error(`only ${words.length} words found in src/${file}: has its shape changed?`);
    all.push(...words);
  }
  return all;
}

/**
 * Texts on a Japanese page that are a dictionary's key, or its English where the Japanese differs. What people and
 * programs wrote is left out: `pre`, `code` and whatever says that it is English.
 */
export async function untranslated(page, words) {
  const english = new Set(words.filter((word) => word.ja !== word.en).map((word) => word.en));
  const keys = new Set(words.map((word) => word.key).filter((key) => key.includes("_")));
  const shown = await page.evaluate(() => {
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT, (node) => {
      if (node.nodeType === Node.TEXT_NODE) return NodeFilter.FILTER_ACCEPT;
      return node.matches("pre, code, iframe, script, [lang=en], .messages .text") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT;
    });
    for (let node = walker.currentNode; node; node = walker.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) texts.push(node.data.trim());
      else for (const name of ["aria-label", "placeholder", "title"]) texts.push(node.getAttribute(name) ?? "");
    }
    return texts.filter(Boolean);
  });
  return [...new Set(shown.filter((text) => english.has(text) || keys.has(text) || /^(seat|sli|e|a|p|m)_[a-z_]+$/.test(text)))];
}

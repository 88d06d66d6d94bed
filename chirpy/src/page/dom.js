// Building the document: elements, notices, questions.

import { t } from "./words.js";

/** An element. Text children become text, never markup; `on...` properties are listeners. */
export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const ICONS = {
  home: "M3 11 12 3l9 8v9a1 1 0 0 1-1 1h-5v-6H9v6H4a1 1 0 0 1-1-1z",
  person: "M12 12a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9zm-8 9a8 8 0 0 1 16 0z",
  search: "M10.500 3a7.500 7.500 0 1 0 4.700 13.300l4.700 4.700 1.400-1.400-4.700-4.700A7.500 7.500 0 0 0 10.500 3zm0 2a5.500 5.500 0 1 1 0 11 5.500 5.500 0 0 1 0-11z",
  leave: "M5 3h8v2H6v14h7v2H5a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zm11 4 5 5-5 5-1.400-1.400 2.600-2.600H10v-2h7.200l-2.600-2.600z",
  reply: "M4 4h16a1 1 0 0 1 1 1v11a1 1 0 0 1-1 1h-8l-5 4v-4H4a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zm1 2v9h4v1.800l2.300-1.800H19V6z",
  like: "M12 20.500 4.600 13a5 5 0 0 1 7.400-6.700A5 5 0 0 1 19.400 13z",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A round picture for a name: its first letter on a colour of its own. */
export function avatar(name, size = "") {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 12;
  return h("span", { class: `avatar tint${sum} ${size}`, "aria-hidden": "true" }, name[0].toUpperCase());
}

let hiding;

/** Says something for a few seconds. */
export function notice(text, kind = "") {
  const box = document.getElementById("notice");
  box.textContent = text;
  box.className = kind;
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { box.hidden = true; }, 6000);
}

/** A question before something that cannot be undone. */
export function sure(question, yes) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": question },
      h("p", {}, question),
      h("div", { class: "row" },
        h("button", { class: "danger", onclick: () => dialog.close("yes") }, yes),
        h("button", { onclick: () => dialog.close(""), autofocus: true }, t("cancel"))));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "yes"); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** What went wrong, and a button to try again. */
export function trouble(error, again) {
  return h("div", { class: "trouble", role: "alert" }, h("p", {}, error.message), h("button", { onclick: again }, t("again")));
}

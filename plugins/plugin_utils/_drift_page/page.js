
/* Copyright (c) wabiz.onprem contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
"use strict";
(function () {
  // Every text reaches the page as the text of an element, never as markup.
  const report = JSON.parse(document.getElementById("report").textContent);
  const STATES = ["failed", "drifted", "pending", "converged"];
  const ROWS_AT_FIRST = 40;
  const ROWS_AT_ONCE = 120;
  const NOT_REPORTED = "not reported";
  const byId = (id) => document.getElementById(id);

  function element(name, options, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(options || {})) {
      if (key === "class") made.className = value;
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function text(value) {
    if (value === null || value === undefined) return "";
    if (value === "") return "\"\"";
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  // A name that may be broken where its words end.
  function breakable(name) {
    return name.split(/(?<=[_.])/).flatMap((word, at) => (at ? [document.createElement("wbr"), word] : [word]));
  }

  // --- what is known of a client ---

  const differing = new Set(report.clients.flatMap((client) => client.differences.map((one) => one.setting)));
  const reported = new Set();
  for (const client of report.clients) for (const key of Object.keys(client.settings)) reported.add(key);
  // What differs somewhere comes first, so that it is seen without scrolling.
  const keys = [...[...differing].sort(), ...[...reported].filter((key) => !differing.has(key)).sort()];
  const clients = report.clients.map((client, position) => {
    const differences = new Map(client.differences.map((one) => [one.setting, one]));
    const words = [client.name, client.cluster, client.state, client.client_version, client.error, client.api_url];
    for (const one of client.differences) words.push(one.setting, one.layer, text(one.current), text(one.wanted));
    if (client.pending_restart) {
      words.push("pending restart", ...client.pending_restart.settings, ...client.pending_restart.containers);
    }
    // Maps, since objects have members that no client has reported.
    const settings = new Map(Object.entries(client.settings));
    const searched = words.filter(Boolean).join("\n").toLowerCase();
    return { ...client, settings, position, differences, searched, row: null, shown: true };
  });
  const byName = new Map(clients.map((client) => [client.name, client]));

  function versionNumbers(client) {
    return (client.client_version || "").split(".").map(Number);
  }

  function compareVersions(one, other) {
    const [a, b] = [versionNumbers(one), versionNumbers(other)];
    for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
      if ((a[at] || 0) !== (b[at] || 0)) return (a[at] || 0) - (b[at] || 0);
    }
    return 0;
  }

  const names = new Intl.Collator(undefined, { numeric: true });
  const byNumber = (one, other) => other.differences.size - one.differences.size;
  const ORDERS = {
    name: (one, other) => names.compare(one.name, other.name),
    state: (one, other) => STATES.indexOf(one.state) - STATES.indexOf(other.state) || byNumber(one, other),
    differences: byNumber,
    version: compareVersions,
  };

  // --- the pieces ---

  function state(client) {
    return element("span", { class: `state ${client.state}` }, client.state);
  }

  function values(difference) {
    if (difference.secret_changed) {
      return [element("span", { class: "now" }, `${text(difference.current)} (the secret in it differs)`)];
    }
    const current = difference.current === null ? NOT_REPORTED : text(difference.current);
    const wanted = difference.wanted === null ? "none" : text(difference.wanted);
    return [
      element("span", { class: "sr" }, "current "), element("span", { class: "was" }, current),
      element("span", { "aria-hidden": "true" }, " → "),
      element("span", { class: "sr" }, ", wanted "), element("span", { class: "now" }, wanted),
    ];
  }

  function pendingWords(pending) {
    const since = pending.since ? ` since ${pending.since}` : "";
    const why = pending.settings.length ? ` for ${pending.settings.join(", ")}` : "";
    return `Restart pending${since}: ${pending.containers.join(", ") || "all Coreapps"}${why}`;
  }

  function what(client) {
    const list = element("ul", { class: "what" });
    if (client.error) list.append(element("li", { class: "failed" }, client.error));
    if (client.pending_restart) list.append(element("li", { class: "pending" }, pendingWords(client.pending_restart)));
    for (const one of client.differences.values()) {
      const notes = one.restart_bound ? `${one.layer}, needs a restart` : one.layer;
      const layer = element("span", { class: "layer" }, `(${notes})`);
      list.append(element("li", {}, ...breakable(one.setting), ": ", ...values(one), " ", layer));
    }
    return list.childElementCount ? [list] : [];
  }

  function linkTo(client) {
    return element("a", { href: `#${encodeURIComponent(client.name)}` }, client.name);
  }

  function cell(client, key) {
    const difference = client.differences.get(key);
    if (difference) {
      return element("td", { role: "cell", class: "key differs", title: `${key}: wanted by ${difference.layer}` }, ...values(difference));
    }
    if (!client.settings.has(key)) {
      return element("td", { role: "cell", class: "key unknown" }, element("span", { class: "sr" }, NOT_REPORTED));
    }
    return element("td", { role: "cell", class: "key value" }, text(client.settings.get(key)));
  }

  function row(client) {
    if (client.row === null) {
      const optional = (label, value) => element(
        "td", { role: "cell", class: "optional", ...(value && { "data-label": label }) }, value || "",
      );
      client.row = element("tr", { role: "row" },
        element("th", { role: "rowheader", scope: "row" }, linkTo(client)),
        element("td", { role: "cell" }, state(client)),
        optional("Cluster", client.cluster === client.name ? "" : client.cluster),
        optional("Version", client.client_version),
        element("td", { role: "cell", class: "optional" }, ...what(client)),
        ...shownKeys.map((key) => cell(client, key)));
      client.row.hidden = !client.shown;
    }
    return client.row;
  }

  // --- the fleet ---

  let shownKeys = keys;
  let body = null;
  let waiting = [];
  let timer = null;
  const chosen = { state: null };
  const buttons = new Map();

  function heading(title, isKey) {
    return element("th", { role: "columnheader", scope: "col", class: isKey ? "key" : "" }, ...breakable(title));
  }

  // In rem: as wide as the longest word of its name and most of its values need.
  function widthOf(key) {
    const lengths = key.split(/(?<=[_.])/).map((word) => 1.15 * word.length);
    for (const client of clients) {
      const difference = client.differences.get(key);
      const shown = difference ? text(difference.current) + text(difference.wanted) : text(client.settings.get(key));
      lengths.push(shown.length);
    }
    return Math.min(20, 2 + 0.58 * Math.max(6, ...lengths));
  }

  function build() {
    shownKeys = byId("differing").checked ? keys.filter((key) => differing.has(key)) : keys;
    for (const client of clients) client.row = null;
    body = element("tbody", { role: "rowgroup" });
    const table = element("table", { id: "matrix", role: "table", "aria-label": "Clients by settings" },
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" },
        ...["Client", "State", "Cluster", "Version", "What is wrong"].map((title) => heading(title, false)),
        ...shownKeys.map((key) => heading(key, true)))),
      body);
    table.style.setProperty("--columns", ["11rem 7rem 7rem 5.5rem 24rem", ...shownKeys.map((key) => `${widthOf(key)}rem`)].join(" "));
    byId("scroll").replaceChildren(table);
  }

  // All rows in their order, a screen at once and the others piece by piece.
  function arrange() {
    const order = ORDERS[byId("sort").value];
    waiting = clients.slice().sort((one, other) => order(one, other) || one.position - other.position);
    clearTimeout(timer);
    body.replaceChildren();
    append(ROWS_AT_FIRST);
  }

  function append(rows) {
    body.append(...waiting.splice(0, rows).map(row));
    timer = waiting.length ? setTimeout(append, 0, ROWS_AT_ONCE) : null;
  }

  // Hides what is not chosen; moving rows about would take far longer.
  function choose() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const client of clients) {
      client.shown = (chosen.state === null || client.state === chosen.state)
        && words.every((word) => client.searched.includes(word));
      count += client.shown;
      if (client.row !== null) client.row.hidden = !client.shown;
    }
    byId("count").textContent = `${count.toLocaleString("en")} of ${clients.length.toLocaleString("en")} clients`;
  }

  function addButton(label, value) {
    const button = element("button", { type: "button", "aria-pressed": String(value === null) }, label);
    button.addEventListener("click", () => {
      chosen.state = value;
      for (const [other, itsValue] of buttons) other.setAttribute("aria-pressed", String(itsValue === value));
      choose();
    });
    buttons.set(button, value);
    byId("states").append(button);
  }

  // --- one client ---

  function table(titles, rows) {
    return element("table", {},
      element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)))),
      element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((content, at) => (at === 0
        ? element("th", { scope: "row" }, ...breakable(content))
        : element("td", { "data-label": titles[at] }, ...breakable(content))))))));
  }

  function list(pairs) {
    return element("dl", {}, ...pairs.filter(([, value]) => value).flatMap(([name, value]) => [
      element("dt", {}, name), element("dd", {}, value),
    ]));
  }

  function details(client) {
    const pending = client.pending_restart;
    const parts = [list([
      ["State", state(client)], ["Error", client.error], ["Cluster", client.cluster], ["Version", client.client_version],
      ["Address", client.api_url], ["Restart", pending ? pendingWords(pending) : ""],
    ])];
    const differences = [...client.differences.values()];
    if (differences.length) {
      parts.push(element("h3", {}, "What differs"), table(
        ["Setting", "Current", "Wanted", "Wanted by", "Restart"],
        differences.map((one) => [
          one.setting, one.current === null ? NOT_REPORTED : text(one.current),
          one.secret_changed ? `${text(one.wanted)} (the secret in it differs)` : text(one.wanted) || "none",
          one.layer, one.restart_bound ? "needed" : "not needed",
        ])));
    }
    const settings = [...client.settings].sort(([one], [other]) => names.compare(one, other));
    if (settings.length) {
      parts.push(element("h3", {}, "All settings that the client reports"),
        table(["Setting", "Current"], settings.map(([name, value]) => [name, text(value)])));
    }
    return parts;
  }

  let place = 0;
  let left = null;

  function go() {
    let name = location.hash.slice(1);
    try { name = decodeURIComponent(name); } catch (error) { /* the name itself has a percent sign */ }
    const client = byName.get(name);
    if (client && byId("one").hidden) place = window.scrollY;
    byId("fleet").hidden = Boolean(client);
    byId("one").hidden = !client;
    document.title = client ? `${client.name}: drift` : "Drift of WhatsApp Business clients";
    if (client) {
      left = client;
      byId("one-title").textContent = client.name;
      byId("one-body").replaceChildren(...details(client));
      window.scrollTo(0, 0);
      byId("one-title").focus();
      return;
    }
    if (body === null) {
      build();
      choose();
      arrange();
    } else if (left !== null && left.row !== null) {
      left.row.querySelector("a").focus({ preventScroll: true });
    }
    window.scrollTo(0, place);
  }

  addButton(`All ${report.summary.clients.toLocaleString("en")}`, null);
  for (const name of STATES) addButton(`${name} ${report.summary[name].toLocaleString("en")}`, name);
  byId("choice").addEventListener("submit", (event) => event.preventDefault());
  byId("search").addEventListener("input", choose);
  byId("sort").addEventListener("change", arrange);
  byId("differing").addEventListener("change", () => { build(); arrange(); });
  window.addEventListener("hashchange", go);
  window.addEventListener("beforeprint", () => {
    clearTimeout(timer);
    if (body !== null) append(waiting.length);
  });
  go();
}());

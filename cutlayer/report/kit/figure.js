"use strict";
for (const figure of document.querySelectorAll("figure.drawn")) {
  const marks = [...figure.querySelectorAll("a.mark")], told = figure.querySelector(".told");
  const alike = (mark) => [...(figure.closest("article") || document).querySelectorAll("a.mark")]
    .filter((other) => other.getAttribute("href") === mark.getAttribute("href"));
  const tell = (mark) => {
    for (const other of (figure.closest("article") || document).querySelectorAll("a.mark.on")) other.classList.remove("on");
    for (const other of alike(mark)) other.classList.add("on");
    told.textContent = mark.getAttribute("aria-label");
  };
  const reach = (mark) => {
    for (const other of marks) other.setAttribute("tabindex", other === mark ? "0" : "-1");
    mark.focus();
  };
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  marks.forEach((mark, at) => {
    mark.addEventListener("pointerenter", () => tell(mark));
    mark.addEventListener("focus", () => tell(mark));
    mark.addEventListener("keydown", (event) => {
      const to = event.key === "Home" ? 0 : event.key === "End" ? marks.length - 1
        : event.key in steps ? (at + steps[event.key] + marks.length) % marks.length : -1;
      if (to < 0) return;
      event.preventDefault();
      reach(marks[to]);
    });
    let touched = false;
    mark.addEventListener("pointerdown", (event) => {
      touched = event.pointerType === "touch" && document.activeElement !== mark;
    });
    // The first touch of a finger tells what the mark is, the second one follows it.
    mark.addEventListener("click", (event) => { if (touched) { event.preventDefault(); tell(mark); } });
  });
  const save = figure.querySelector("button.save");
  save.hidden = false;
  save.addEventListener("click", () => {
    const shown = [...figure.querySelectorAll("svg")].find((svg) => svg.getBoundingClientRect().width > 0);
    const copy = (figure.querySelector("svg.wide-screen") || shown).cloneNode(true);
    const space = copy.namespaceURI, [, , width, height] = copy.getAttribute("viewBox").split(" ");
    for (const ring of copy.querySelectorAll(".ring")) ring.remove();
    for (const link of copy.querySelectorAll("a")) {
      const group = document.createElementNS(space, "g");
      group.setAttribute("class", link.getAttribute("class").replace(" on", ""));
      const title = document.createElementNS(space, "title");
      title.textContent = link.getAttribute("aria-label");
      group.append(title, ...link.childNodes);
      link.replaceWith(group);
    }
    for (const [name, value] of Object.entries({ xmlns: space, width, height })) copy.setAttribute(name, value);
    const style = document.createElementNS(space, "style");
    style.textContent = "STYLE";
    copy.prepend(style);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(['<?xml version="1.0" encoding="UTF-8"?>\n', new XMLSerializer().serializeToString(copy), "\n"], { type: "image/svg+xml" }));
    link.download = save.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

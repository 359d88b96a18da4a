"use strict";

// Without this script the page is complete: the examples are a list, and every fold opens by hand.
(() => {
  const KEYS = { ArrowLeft: -1, ArrowRight: 1 };

  // Turn a list of examples into one example at a time, with filters, buttons, keys and a row of small images.
  function browse(section) {
    const figures = [...section.querySelectorAll(".example")];
    const film = section.querySelector(".film");
    const place = section.querySelector("output");
    const filters = [...section.querySelectorAll("select")];
    const frames = figures.map(frame);
    let chosen = figures;
    let current = figures[0];

    function frame(figure) {
      const button = document.createElement("button");
      const image = document.createElement("img");
      button.type = "button";
      button.dataset.outcome = figure.dataset.outcome;
      image.src = figure.querySelector(".clean img").src;
      image.alt = figure.dataset.name;
      button.append(image);
      button.addEventListener("click", () => show(figure));
      film.append(button);
      return button;
    }

    function show(figure) {
      current = figure;
      figures.forEach((one, number) => {
        one.hidden = one !== figure;
        frames[number].hidden = !chosen.includes(one);
        // The row is one stop for the Tab key: arrows move inside it.
        frames[number].tabIndex = one === figure ? 0 : -1;
        frames[number].setAttribute("aria-current", String(one === figure));
      });
      place.textContent = figure
        ? `${chosen.indexOf(figure) + 1} of ${chosen.length}`
        : "No example is both.";
    }

    function go(number) {
      if (!chosen.length) return;
      const inside = film.contains(document.activeElement);
      show(chosen[(number + chosen.length) % chosen.length]);
      if (inside) frames[figures.indexOf(current)].focus();
    }

    function filter() {
      chosen = figures.filter((one) => filters.every((by) => !by.value || one.dataset[by.name] === by.value));
      show(chosen.includes(current) ? current : chosen[0]);
    }

    section.addEventListener("keydown", (event) => {
      if (event.target.matches("select") || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key in KEYS) go(chosen.indexOf(current) + KEYS[event.key]);
      else if (event.key === "Home") go(0);
      else if (event.key === "End") go(-1);
      else return;
      event.preventDefault();
    });
    for (const button of section.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => go(chosen.indexOf(current) + Number(button.dataset.step)));
    }
    for (const by of filters) by.addEventListener("change", filter);
    for (const part of section.querySelectorAll(".controls, .film, .keys")) part.hidden = false;
    section.classList.add("live");
    filter();
  }

  // Open what a link leads into; some browsers do so by themselves.
  function reveal() {
    const target = document.getElementById(location.hash.slice(1));
    let fold = target && target.closest("details");
    if (!fold) return;
    for (; fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  }

  for (const section of document.querySelectorAll(".browser")) browse(section);
  addEventListener("hashchange", reveal);
  reveal();
})();

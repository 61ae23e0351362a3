"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = { displayModeBar: false, responsive: true, showTips: false };
  // A finger that scrolls the page must not zoom a plot.
  const drag = matchMedia("(hover: hover)").matches ? "zoom" : false;

  const coloured = (value, styles) => {
    if (typeof value === "string" && /^@[a-z]+\d?$/.test(value)) return styles.getPropertyValue("--" + value.slice(1)).trim();
    if (Array.isArray(value)) return value.map((each) => coloured(each, styles));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each, styles)]));
  };

  let chosen = null;

  const draw = () => {
    chosen = null;
    const styles = getComputedStyle(document.documentElement);
    const drawn = [...document.querySelectorAll("script[data-plot]")].map((source) => {
      const { data, layout } = coloured(JSON.parse(source.textContent), styles);
      return Plotly.react(source.dataset.plot, data, { ...layout, dragmode: drag }, config);
    });
    return Promise.all(drawn).then(() => { document.documentElement.dataset.drawn = dark.matches ? "dark" : "light"; });
  };

  // Lines of the parallel coordinates that do not pass through the chosen value are left out.
  const choosing = (plot) => plot.on("plotly_clickannotation", ({ index, annotation }) => {
    const { data } = JSON.parse(document.querySelector(`script[data-plot="${plot.id}"]`).textContent);
    const length = plot.layout.yaxis.tickvals.length + 1;  // of a line, with the gap after it
    chosen = chosen === index ? null : index;
    const kept = data.map(({ x, y }) => y.map((row, at) => {
      const value = x[at - (at % length) + annotation.y];
      return chosen === null || Math.abs(value - annotation.x) < 0.01 ? row : null;
    }));
    const dimmed = (at, { y }) => chosen !== null && at !== chosen && y === annotation.y;
    const opacities = plot.layout.annotations.map((each, at) => [`annotations[${at}].opacity`, dimmed(at, each) ? 0.35 : 1]);
    Plotly.update(plot, { y: kept }, Object.fromEntries(opacities));
  });

  const copying = (button) => button.addEventListener("click", () => {
    const code = button.parentElement.querySelector("code");
    const select = () => {
      getSelection().selectAllChildren(code);
      return document.execCommand("copy");
    };
    // Pages opened from disk may have no clipboard of their own.
    const copied = navigator.clipboard ? navigator.clipboard.writeText(code.textContent).then(() => true, select) : Promise.resolve(select());
    copied.then((done) => {
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  });

  document.querySelectorAll(".copy").forEach(copying);
  draw().then(() => {
    const plot = document.getElementById("plot-parallel");
    if (plot) choosing(plot);
  });
  dark.addEventListener("change", draw);
})();

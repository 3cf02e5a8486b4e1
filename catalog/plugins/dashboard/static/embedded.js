// Airflow shows the dashboard in a frame that may not navigate the window. Links to pages outside of the
// dashboard are therefore followed in Airflow's own document. Without a frame, or without scripts, they are
// ordinary links. The frame also takes over whether Airflow is light or dark.
const outer = window.parent;
if (outer !== window) {
  const theme = () => {
    document.documentElement.dataset.theme =
      outer.document.documentElement.classList.contains("dark") ? "dark" : "light";
  };
  theme();
  new MutationObserver(theme).observe(outer.document.documentElement, { attributeFilter: ["class"] });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    const follow = outer.document.createElement("a");
    follow.href = link.href;
    follow.rel = link.rel;
    if (link.origin !== window.location.origin) follow.target = "_blank";
    outer.document.body.append(follow);
    follow.click();
    follow.remove();
  });
}

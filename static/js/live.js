// Says when a live page has lost its stream, and that it has it again. Everything else about live pages is htmx's.
// The stream itself is tried again without end, and the server sends whatever was missed.
(() => {
  const lost = () => document.querySelector("[data-live-lost]");

  document.addEventListener("htmx:sse:error", () => {
    const notice = lost();
    if (notice) notice.hidden = false;
  });

  document.addEventListener("htmx:sse:after:connection", () => {
    const notice = lost();
    if (notice) notice.hidden = true;
  });
})();

// Says when a live page has lost its stream, and asks again when the very first connection fails. A stream that
// was open once is tried again by htmx itself, without end, and the server sends whatever was missed.
(() => {
  const RETRY_MS = 3000;
  const isLive = (element) => element instanceof Element && element.hasAttribute("hx-sse:connect");

  const show = (lost) => {
    const notice = document.querySelector("[data-live-lost]");
    if (notice) notice.hidden = !lost;
  };

  const again = (element) => {
    show(true);
    setTimeout(() => {
      if (!element.isConnected) return;
      htmx.ajax("GET", element.getAttribute("hx-sse:connect"), { source: element });
    }, RETRY_MS);
  };

  document.addEventListener("htmx:sse:error", () => show(true));
  document.addEventListener("htmx:sse:after:connection", () => show(false));
  document.addEventListener("htmx:error", (event) => {
    if (isLive(event.target)) again(event.target);
  });
  document.addEventListener("htmx:response:error", (event) => {
    if (isLive(event.target)) again(event.target);
  });
})();

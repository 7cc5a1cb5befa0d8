// Says when a live page has lost its stream, and asks again when the very first connection fails. A stream that
// was open once is tried again by htmx itself, and the server sends whatever was missed; only who is signed out is
// not asked for again.
(() => {
  const RETRY_MS = 3000;
  const UNAUTHORIZED = 401;
  const isLive = (element) => element instanceof Element && element.hasAttribute("hx-sse:connect");
  let isOver = false;

  const reveal = (notice, shown) => {
    const element = document.querySelector(notice);
    if (element) element.hidden = !shown;
  };

  const show = (lost) => {
    reveal("[data-live-lost]", lost && !isOver);
    reveal("[data-live-over]", isOver);
  };

  const failed = (status) => {
    isOver ||= status === UNAUTHORIZED;
    show(true);
  };

  const again = (element, status) => {
    failed(status);
    setTimeout(() => {
      if (isOver || !element.isConnected) return;
      htmx.ajax("GET", element.getAttribute("hx-sse:connect"), { source: element });
    }, RETRY_MS);
  };

  document.addEventListener("htmx:sse:error", (event) => failed(event.detail.status));
  document.addEventListener("htmx:sse:before:connection", (event) => {
    if (isOver) event.preventDefault();
  });
  document.addEventListener("htmx:sse:after:connection", () => show(false));
  document.addEventListener("htmx:error", (event) => {
    if (isLive(event.target)) again(event.target);
  });
  document.addEventListener("htmx:response:error", (event) => {
    if (isLive(event.target)) again(event.target, event.detail.ctx.response.status);
  });
})();

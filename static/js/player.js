// Plays a recording: asks the server for one moment after the other, each the very block that the page shows without
// JavaScript. Never knows what a moment means; the server folds and draws it. The address follows the moment.
(() => {
  const player = document.getElementById("player");
  if (!player) return;
  // How many moments there are when a recording is played as fast as possible.
  const MOST_MOMENTS = 200;
  const FASTEST = "max";

  const play = document.getElementById("play");
  const speed = document.getElementById("speed");
  const needle = document.getElementById("needle");
  const go = document.getElementById("go");
  const lost = player.querySelector("[data-player-lost]");
  const scene = () => document.getElementById("scene");
  const number = (name) => Number(scene().dataset[name]);
  const isPlaying = () => play.dataset.playing === "yes";

  let wanted = null;
  let isLoading = false;
  let timer = 0;
  // When the moment that is shown was due, and how far the tape has come beyond it.
  let since = 0;

  const follow = () => {
    const address = new URL(location.href);
    address.searchParams.set("at", String(number("seq")));
    history.replaceState(null, "", address);
    needle.setAttribute("x1", `${scene().dataset.place}%`);
    needle.setAttribute("x2", `${scene().dataset.place}%`);
    document.getElementById("at").value = String(number("seq"));
  };

  const load = async (seq) => {
    const address = new URL(player.dataset.fragment, location.href);
    address.searchParams.set("at", String(seq));
    try {
      await htmx.ajax("GET", address.pathname + address.search, { target: "#moment", swap: "innerMorph" });
    } catch {
      return false;
    }
    return number("seq") === seq;
  };

  // Shows a moment. Asked for while another is on its way, the latest wins.
  const show = async (seq) => {
    wanted = Math.min(Math.max(seq, 1), number("count"));
    if (isLoading) return;
    isLoading = true;
    while (wanted !== null && wanted !== number("seq")) {
      const next = wanted;
      wanted = null;
      const done = await load(next);
      lost.hidden = done;
      if (!done) {
        stop();
        break;
      }
      follow();
    }
    wanted = null;
    isLoading = false;
  };

  const stop = () => {
    clearTimeout(timer);
    play.dataset.playing = "no";
    play.textContent = "Play";
    say(true);
  };

  // Read out moment by moment, a recording that is played fast would never be done being read.
  const say = (aloud) => {
    document.getElementById("said").setAttribute("aria-live", aloud ? "polite" : "off");
  };

  const start = async () => {
    play.dataset.playing = "yes";
    play.textContent = "Pause";
    if (number("seq") === number("count")) await show(1);
    since = performance.now();
    tick();
  };

  const tick = async () => {
    clearTimeout(timer);
    if (!isPlaying()) return;
    const [seq, count] = [number("seq"), number("count")];
    if (seq >= count) {
      stop();
      return;
    }
    const isFastest = speed.value === FASTEST;
    const ahead = scene().dataset.ahead.split(" ").map(Number);
    const times = isFastest ? 1 : Number(speed.value);
    const passed = (performance.now() - since) * times;
    const steps = isFastest ? Math.ceil(count / MOST_MOMENTS) : ahead.filter((due) => due <= passed).length;
    if (steps === 0) {
      timer = setTimeout(tick, (ahead[0] - passed) / times);
      return;
    }
    if (!isFastest) since += ahead[steps - 1] / times;
    await show(seq + steps);
    say(!isPlaying() || speed.value === "1");
    timer = setTimeout(tick, 0);
  };

  const toggle = () => (isPlaying() ? stop() : start());

  // A person who steps takes over.
  const step = (seq) => {
    stop();
    return show(seq);
  };

  play.addEventListener("click", toggle);
  speed.addEventListener("change", () => {
    since = performance.now();
    tick();
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-moment][href]");
    if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    step(Number(link.dataset.moment));
  });

  go.addEventListener("submit", (event) => {
    event.preventDefault();
    step(Number(document.getElementById("at").value));
  });

  const KEYS = {
    ArrowLeft: () => step(number("seq") - 1),
    ArrowRight: () => step(number("seq") + 1),
    Home: () => step(1),
    End: () => step(number("count")),
    " ": toggle,
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.defaultPrevented) return;
    const act = KEYS[event.key];
    if (!act || event.target.closest("input, select, textarea")) return;
    // What has the focus is pressed by the space bar.
    if (event.key === " " && event.target.closest("button, summary")) return;
    event.preventDefault();
    act();
  });

  for (const hidden of player.querySelectorAll("[data-controls]")) hidden.hidden = false;
})();

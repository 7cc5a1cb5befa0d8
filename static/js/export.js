// Says how far an export of the log is. Without this script, or in a browser without files of its own, a link
// marked `data-export` is a plain download; with it the rows go through a file that the browser keeps on disk, never
// through memory, and the finished file is saved as the download would have been.
(() => {
  const SAY_MS = 1000;
  const LINE_FEED = 10;
  const PREFIX = "export-";
  const progress = document.querySelector("[data-export-progress]");
  const canKeep = navigator.storage?.getDirectory && window.FileSystemFileHandle?.prototype.createWritable;
  if (!progress || !canKeep) return;

  const number = (value) => value.toLocaleString("en");
  const say = (text) => {
    progress.textContent = text;
  };

  // What earlier pages left behind: their downloads are over.
  const tidy = async (directory) => {
    for await (const name of directory.keys()) {
      if (name.startsWith(PREFIX)) await directory.removeEntry(name).catch(() => {});
    }
  };

  const countLines = (bytes) => {
    let lines = 0;
    for (let at = bytes.indexOf(LINE_FEED); at >= 0; at = bytes.indexOf(LINE_FEED, at + 1)) lines += 1;
    return lines;
  };

  const fileName = (answer) => /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1] ?? "activity-log";

  const save = (file, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = name;
    link.click();
  };

  const run = async (link) => {
    const answer = await fetch(link.href);
    if (!answer.ok || !answer.body) throw new Error(`status ${answer.status}`);
    const headers = (answer.headers.get("content-type") ?? "").includes("header=present") ? 1 : 0;
    const total = Number(link.dataset.count);
    const of = link.dataset.count ? ` of ${number(total)}` : "";
    const directory = await navigator.storage.getDirectory();
    const handle = await directory.getFileHandle(`${PREFIX}${Date.now()}`, { create: true });
    const writable = await handle.createWritable();
    let [lines, said] = [0, 0];
    const rows = () => Math.max(0, lines - headers);
    try {
      for (const reader = answer.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        await writable.write(value);
        lines += countLines(value);
        if (Date.now() - said >= SAY_MS) {
          said = Date.now();
          say(`${number(rows())}${of} entries so far …`);
        }
      }
    } catch (error) {
      await writable.abort().catch(() => {});
      say(`The export broke off after ${number(rows())} entries. Nothing was saved; try again.`);
      return;
    }
    await writable.close();
    save(await handle.getFile(), fileName(answer));
    say(`All ${number(rows())} entries are saved.`);
  };

  let isBusy = false;
  document.addEventListener("click", async (event) => {
    const link = event.target instanceof Element && event.target.closest("a[data-export]");
    if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (isBusy) return;
    isBusy = true;
    say("The export begins …");
    try {
      await run(link);
    } catch {
      // No room, no rights, or refused: the browser downloads it by itself, or shows what is wrong.
      say("");
      window.location.assign(link.href);
    } finally {
      isBusy = false;
    }
  });

  navigator.storage.getDirectory().then(tidy).catch(() => {});
})();

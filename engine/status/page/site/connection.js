// The stream of statuses. EventSource reconnects by itself after most
// failures; the watchdog covers the rest: answers that end it for good (a
// proxy's 502) and connections that are dead without saying so (a suspended
// laptop, a cut tunnel).

const SILENCE = 5000; // ms without a status, five times its period, until the connection counts as lost
const RETRY = 3000; // ms until we try again what EventSource gave up
const GIVE_UP = 15000; // ms without a status until a connection, or an attempt at one, is replaced

/** Calls onStatus(status) for each event and onChange(link) whenever the link changes; link as judge.js describes it. */
export class Connection {
  link = { state: "connecting", since: Date.now(), understood: true };
  #source = null;
  #heard = Date.now(); // when something arrived, or when we last tried
  #onStatus;
  #onChange;

  constructor({ onStatus, onChange }) {
    this.#onStatus = onStatus;
    this.#onChange = onChange;
    this.#open();
    setInterval(() => this.#watch(), 1000);
    // A page that was put away must not show old values as live, not for a second.
    document.addEventListener("visibilitychange", () => this.#watch());
  }

  #open() {
    this.#source?.close();
    this.#heard = Date.now();
    this.#source = new EventSource("events");
    this.#source.addEventListener("status", (event) => this.#receive(event.data));
    this.#source.addEventListener("error", () => this.#set("lost"));
  }

  #receive(data) {
    this.#heard = Date.now();
    let status = null;
    try {
      status = JSON.parse(data);
    } catch { /* said by understood */ }
    const understood = status !== null && typeof status === "object" && !Array.isArray(status);
    this.#set("live", understood);
    if (understood) this.#onStatus(status);
  }

  #watch() {
    const silent = Date.now() - this.#heard;
    if (silent >= SILENCE) this.#set("lost");
    const wait = this.#source.readyState === EventSource.CLOSED ? RETRY : GIVE_UP;
    if (silent >= wait) this.#open();
  }

  #set(state, understood = this.link.understood) {
    if (state === this.link.state && understood === this.link.understood) return;
    let { since } = this.link;
    if (state !== this.link.state) since = state === "lost" ? this.#heard : Date.now();
    this.link = { state, since, understood };
    this.#onChange(this.link);
  }
}

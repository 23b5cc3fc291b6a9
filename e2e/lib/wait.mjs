// Waiting with a limit. Every wait of the suite has a limit, so that a broken server makes a scenario fail instead of hang. No scenario
// sleeps to let things settle.

/** The default limit of a wait, in ms. Only a failing scenario waits that long; it is generous because machines may be busy. */
export const WAIT_MS = 8_000;

/** Resolves like `promise`, or rejects after `ms` with an error that says what was awaited. */
export async function within(promise, what, ms = WAIT_MS) {
  let timer;
  const tooLate = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms without success for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

/** Calls `probe` repeatedly until it returns a true value, and resolves to that value. */
export async function eventually(probe, what, ms = WAIT_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const seen = await probe();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`waited ${ms} ms without success for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Keeps values by name and in order until they are read, so that a reader need not be there when a value arrives. */
export class Mailbox {
  #unread = new Map();
  #waiting = new Map();

  put(name, value) {
    const reader = this.#waiting.get(name)?.shift();
    if (reader) return reader(value);
    this.#listOf(this.#unread, name).push(value);
  }

  /** Resolves to the oldest unread value of this name. Waits if there is none. */
  next(name, what = `"${name}"`, ms = WAIT_MS) {
    const unread = this.#unread.get(name);
    if (unread?.length > 0) return Promise.resolve(unread.shift());
    const readers = this.#listOf(this.#waiting, name);
    let reader;
    const arrival = new Promise((resolve) => readers.push((reader = resolve)));
    return within(arrival, what, ms).finally(() => {
      const index = readers.indexOf(reader);
      if (index >= 0) readers.splice(index, 1);
    });
  }

  /** Returns all unread values of this name, which then count as read. */
  takeAll(name) {
    return this.#unread.get(name)?.splice(0) ?? [];
  }

  #listOf(map, name) {
    if (!map.has(name)) map.set(name, []);
    return map.get(name);
  }
}

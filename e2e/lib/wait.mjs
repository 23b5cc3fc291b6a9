// Bounded waiting. Nothing in the suite waits without an end, so that a broken server fails a scenario and does not
// hang it; nothing sleeps to let something settle.

/** How long one thing may take, in ms. Only a failing scenario ever waits so long; a busy machine needs the room. */
export const WAIT_MS = 8_000;

/** Resolves as `promise` does, or rejects after `ms` with a text that says what was waited for. */
export async function within(promise, what, ms = WAIT_MS) {
  let timer;
  const tooLate = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks `probe` again and again until it returns something true, and resolves to that. */
export async function eventually(probe, what, ms = WAIT_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const seen = await probe();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Keeps what arrived, by name and in order, until somebody takes it; so nobody has to listen at the right moment. */
export class Mailbox {
  #unread = new Map();
  #waiting = new Map();

  put(name, value) {
    const reader = this.#waiting.get(name)?.shift();
    if (reader) return reader(value);
    this.#listOf(this.#unread, name).push(value);
  }

  /** Takes the oldest unread value of that name, waiting for it if there is none. */
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

  /** Takes everything unread of that name. */
  takeAll(name) {
    return this.#unread.get(name)?.splice(0) ?? [];
  }

  #listOf(map, name) {
    if (!map.has(name)) map.set(name, []);
    return map.get(name);
  }
}

// What is being written, and the name of the request it is sent in.

/** A random name for a request, so that the server knows it when it comes again. */
function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What is kept in `store` (`get(name)`, `set(name, text or null)`) at `place`; it outlives a reload where the store does. */
export function draft(store, place) {
  const text = store.get(place) ?? "";
  const keyPlace = place + ".key";
  let key = text && store.get(keyPlace);
  return {
    text,
    /** Another text is another request. */
    write(text) {
      key = null;
      store.set(keyPlace, null);
      store.set(place, text || null);
    },
    /** The name of the request that sends this text: the same until another is written. */
    key(text) {
      key ||= newKey();
      // Together: another tab may have written something else meanwhile.
      store.set(place, text);
      store.set(keyPlace, key);
      return key;
    },
  };
}

import type { ConsolePart, UiCommand } from "./types";

/** A refusal, with the server's own words for the person. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly ja: string = message,
    /** The whole answer, where it says more. */
    readonly body: unknown = null,
  ) {
    super(message);
  }
}

async function refuse(response: Response): Promise<never> {
  let words = `${response.status} ${response.statusText}`;
  let ja: string | undefined;
  let body: { error?: string; error_ja?: string } | null = null;
  try {
    body = (await response.json()) as { error?: string; error_ja?: string };
    words = body.error ?? words;
    ja = body.error_ja;
  } catch {
    // Not JSON: the status has to do.
  }
  throw new ApiError(words, response.status, ja, body);
}

export async function get<T>(path: string): Promise<T> {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  if (!response.ok) await refuse(response);
  return (await response.json()) as T;
}

export async function getText(path: string): Promise<string> {
  const response = await fetch(path);
  if (!response.ok) await refuse(response);
  return response.text();
}

export async function post<T>(path: string, body: unknown, signal: AbortSignal | null = null): Promise<T | null> {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) await refuse(response);
  return response.status === 204 ? null : ((await response.json()) as T);
}

export async function remove(path: string): Promise<void> {
  const response = await fetch(path, { method: "DELETE" });
  if (!response.ok) await refuse(response);
}

export const send = (command: UiCommand) => post("/api/command", command);

/** Runs one console command; `onPart` gets its output in order, the end last. */
export async function runConsole(line: string, signal: AbortSignal, onPart: (part: ConsolePart) => void) {
  const response = await fetch("/api/console", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ line }),
    signal,
  });
  if (!response.ok || !response.body) await refuse(response);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line) onPart(JSON.parse(line) as ConsolePart);
  }
}

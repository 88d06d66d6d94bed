import { usePolled } from "../experiments/data";
import type { Budgets } from "./types";

/** The server looks no more often itself. */
const EVERY_MS = 8_000;

export const useBudgets = () => usePolled<Budgets>("/api/budgets", EVERY_MS, () => false);

import type { DrillEvent } from "./types";

/** An alert as the events tell it. */
export interface AlertState {
  fingerprint: string;
  name: string;
  severity: string;
  summary: string;
  firedAt: string;
  resolvedAt: string | null;
  acknowledgedBy: string | null;
}

/** What the page shows besides the events themselves; a fold over them, as everything is. */
export interface Folded {
  alerts: AlertState[];
  commander: string | null;
  /** ISO times. */
  alertAt: string | null;
  detectedAt: string | null;
  assignedAt: string | null;
  mitigatedAt: string | null;
  resolvedAt: string | null;
}

/** Alerts of one name: the same objective burnt at several speeds. */
export interface AlertGroup {
  name: string;
  /** The most urgent of them. */
  first: AlertState;
  count: number;
  /** ISO time of the oldest. */
  firedAt: string;
  acknowledgedBy: string | null;
}

/** Whether an alert wakes people up. */
export const pages = (alert: AlertState) => alert.severity === "critical" || alert.severity === "page";

/** Whether somebody has declared the incident resolved and nothing has woken people up since. */
export const settles = ({ alerts, resolvedAt }: Folded) => resolvedAt !== null && !alerts.some((alert) => pages(alert) && alert.firedAt > resolvedAt);

/** Firing alerts by name, those that page first, the newest first among equals. */
export function groups(alerts: AlertState[]): AlertGroup[] {
  const found = new Map<string, AlertGroup>();
  for (const alert of alerts) {
    if (alert.resolvedAt) continue;
    const group = found.get(alert.name);
    if (!group) {
      found.set(alert.name, {
        name: alert.name,
        first: alert,
        count: 1,
        firedAt: alert.firedAt,
        acknowledgedBy: alert.acknowledgedBy,
      });
      continue;
    }
    group.count += 1;
    group.acknowledgedBy ??= alert.acknowledgedBy;
    if (alert.firedAt < group.firedAt) group.firedAt = alert.firedAt;
    const older = alert.firedAt < group.first.firedAt;
    if (pages(alert) === pages(group.first) ? older : pages(alert)) group.first = alert;
  }
  return [...found.values()].sort((a, b) => Number(pages(b.first)) - Number(pages(a.first)) || b.firedAt.localeCompare(a.firedAt));
}

export function fold(events: DrillEvent[]): Folded {
  const alerts = new Map<string, AlertState>();
  const result: Folded = {
    alerts: [],
    commander: null,
    alertAt: null,
    detectedAt: null,
    assignedAt: null,
    mitigatedAt: null,
    resolvedAt: null,
  };
  // What rings before, while the system settles, is no part of the incident.
  let begun = false;
  for (const event of events) {
    switch (event.kind) {
      case "system_ready":
        begun = true;
        break;
      case "alert_fired":
        if (begun) result.alertAt ??= event.at;
        alerts.set(event.fingerprint, {
          fingerprint: event.fingerprint,
          name: event.name,
          severity: event.severity,
          summary: event.summary,
          firedAt: event.at,
          resolvedAt: null,
          acknowledgedBy: null,
        });
        break;
      case "alert_resolved": {
        const alert = alerts.get(event.fingerprint);
        if (alert) alert.resolvedAt = event.at;
        break;
      }
      case "acknowledged": {
        result.detectedAt ??= event.at;
        const alert = event.fingerprint === null ? undefined : alerts.get(event.fingerprint);
        if (alert) alert.acknowledgedBy ??= event.actor.name;
        break;
      }
      case "commander_assigned":
        result.assignedAt ??= event.at;
        result.commander = event.name;
        break;
      case "mitigation_declared":
        result.mitigatedAt ??= event.at;
        break;
      case "resolved_declared":
        result.resolvedAt = event.at;
        break;
      default:
    }
  }
  result.alerts = [...alerts.values()].sort((a, b) => b.firedAt.localeCompare(a.firedAt));
  return result;
}

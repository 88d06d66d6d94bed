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
  for (const event of events) {
    switch (event.kind) {
      case "alert_fired":
        result.alertAt ??= event.at;
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

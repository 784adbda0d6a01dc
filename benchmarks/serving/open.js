// Send RATE photos per second, with at most CLIENTS requests at a time.
import http from 'k6/http';
import { Trend } from 'k6/metrics';

const body = open(__ENV.BODY, 'b');
const params = { headers: JSON.parse(__ENV.HEADERS), timeout: '60s' };
const latency = new Trend('latency', true);

export const options = {
  discardResponseBodies: true,
  systemTags: ['status'],
  scenarios: {
    load: {
      executor: 'constant-arrival-rate',
      rate: Math.round(Number(__ENV.RATE) * 60),
      timeUnit: '60s',
      duration: `${__ENV.SECONDS}s`,
      preAllocatedVUs: Number(__ENV.CLIENTS),
      gracefulStop: '30s',
    },
  },
};

export default function () {
  const { status, timings } = http.post(__ENV.URL, body, params);
  latency.add(timings.blocked + timings.connecting + timings.duration, { answer: String(status) });
}

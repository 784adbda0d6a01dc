// One POST an iteration: CLIENTS that ask again when answered, or RATE requests a second whatever the answers do.
import http from 'k6/http';
import { Trend } from 'k6/metrics';

const body = open(__ENV.BODY, 'b');
const params = { headers: JSON.parse(__ENV.HEADERS), timeout: '60s' };
const clients = Number(__ENV.CLIENTS);
const duration = `${__ENV.SECONDS}s`;
const latency = new Trend('latency', true);

export const options = {
  discardResponseBodies: true,
  systemTags: ['status'],
  scenarios: {
    load: Number(__ENV.RATE)
      ? {
          executor: 'constant-arrival-rate',
          rate: Math.round(Number(__ENV.RATE) * 60),
          timeUnit: '60s',
          duration,
          preAllocatedVUs: clients,
          gracefulStop: '30s',
        }
      : { executor: 'constant-vus', vus: clients, duration, gracefulStop: '0s' },
  },
};

export default function () {
  const { status, timings } = http.post(__ENV.URL, body, params);
  latency.add(timings.blocked + timings.connecting + timings.duration, { answer: String(status) });
}

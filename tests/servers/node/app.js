// node app.js PORT

const crypto = require('node:crypto');
const http = require('node:http');
const { Readable } = require('node:stream');
const { setTimeout: sleep } = require('node:timers/promises');
const { WebSocketServer } = require('ws');

function* records(count) {
  for (let first = 0; first < count; first += 1024) {
    const last = Math.min(first + 1024, count);
    let chunk = '';
    for (let number = first; number < last; number++) {
      chunk += `${String(number).padStart(63, '0')}\n`;
    }
    yield chunk;
  }
}

const text = (response, body) => response.writeHead(200, { 'Content-Type': 'text/plain' }).end(body);

const server = http.createServer(async (request, response) => {
  const { remoteAddress, remotePort } = request.socket;
  console.log(`${remoteAddress} ${remotePort} ${request.method} ${request.url}`);
  const url = new URL(request.url, 'http://host');
  switch (`${request.method} ${url.pathname}`) {
    case 'GET /hit':
      text(response, 'from the server\n');
      break;
    case 'GET /miss':
      text(response, `${remoteAddress} ${remotePort}\n`);
      break;
    case 'POST /upload': {
      let length = 0;
      const hash = crypto.createHash('sha256');
      for await (const chunk of request) {
        length += chunk.length;
        hash.update(chunk);
      }
      text(response, `${length} ${hash.digest('hex')}\n`);
      break;
    }
    case 'GET /download':
      response.writeHead(200, { 'Content-Type': 'application/octet-stream' });
      Readable.from(records(Number(url.searchParams.get('bytes')) / 64)).pipe(response);
      break;
    case 'GET /events':
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      for (let number = 1; number <= 5; number++) {
        response.write(`data: ${number}\n\n`);
        await sleep(10);
      }
      response.end();
      break;
    default:
      response.writeHead(404).end();
  }
});

const sockets = new WebSocketServer({ server, path: '/ws' });
sockets.on('connection', (socket) => {
  socket.on('message', (data, binary) => socket.send(data, { binary }));
});

server.listen(Number(process.argv[2]));

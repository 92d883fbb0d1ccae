// node app.js ROOT PORT: every file of ROOT in memory.

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const [root, port] = process.argv.slice(2);
const files = new Map();
const load = (dir) => {
  for (const entry of fs.readdirSync(dir, { withFileTypes: true })) {
    const full = path.join(dir, entry.name);
    if (entry.isDirectory()) load(full);
    else files.set(full.slice(root.length), fs.readFileSync(full));
  }
};
load(root);

const server = http.createServer((request, response) => {
  const body = files.get(request.url);
  if (body === undefined) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': body.length });
  response.end(body);
});
server.maxRequestsPerSocket = 0;
server.listen(Number(port));

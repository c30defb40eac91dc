// Stands in for the API: it answers, and stores nothing.
const http = require('http')
const port = process.argv[process.argv.indexOf('--api_port') + 1]
http.createServer((request, response) => {
  response.writeHead(404, { 'Content-Type': 'application/json; charset=utf-8' })
  response.end('{"status":"error","error":"no such route"}')
}).listen(port, '0.0.0.0')
process.on('SIGTERM', () => process.exit(0))

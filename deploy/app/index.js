// The key/value API over the MySQL table NameValue: GET /put/:name/:value, /get/:name and /del/:name; and
// POST /put/:name, whose body is the value.
'use strict';

const { readFileSync } = require('node:fs');
const http = require('node:http');
const { parseArgs } = require('node:util');
const express = require('express');
const mysql = require('mysql2/promise');

const NAME_CHARACTERS = 100; // VARCHAR(100)
const VALUE_BYTES = 65535; // TEXT
// A value travels in the URL, where one byte takes up to three: with less, a value that is too long would never get as
// far as the answer that says so.
const HEADER_BYTES = 256 * 1024;
const CONNECT_MS = 3000;
const ANSWER_MS = 5000;
const STOP_MS = 500;

function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      mysql_host: { type: 'string' },
      mysql_port: { type: 'string' },
      mysql_password_file: { type: 'string' }, // without one there is no password
      mysql_tls_file: { type: 'string' }, // see readTls; without one there is no TLS
      api_host: { type: 'string' },
      api_port: { type: 'string' },
    },
  });
  for (const option of ['mysql_host', 'mysql_port', 'api_host', 'api_port']) {
    if (!values[option]) throw new Error(`missing --${option}`);
  }
  return {
    mysqlHost: values.mysql_host,
    mysqlPort: readPort('mysql_port', values.mysql_port, 1),
    mysqlPassword: values.mysql_password_file && readFileSync(values.mysql_password_file, 'utf8'),
    mysqlTlsFile: values.mysql_tls_file,
    apiHost: values.api_host,
    apiPort: readPort('api_port', values.api_port, 0), // 0: any free port, named in the first line of the log
  };
}

// JSON: {"tls": boolean, "ca": the server's authority in PEM, "" where it has none}. The file may be written after the
// start, once the server is known: until then nothing is sent to it. Servers are called by address, and the certificates
// that they make for themselves name no address.
function readTls(file) {
  if (!file) return undefined;
  let known;
  try {
    known = JSON.parse(readFileSync(file, 'utf8'));
  } catch (err) {
    throw new ApiError(503, `MySQL is not known yet: ${err.message}`);
  }
  if (!known.tls) return undefined;
  return known.ca ? { ca: known.ca, verifyIdentity: false } : { rejectUnauthorized: false };
}

// Connections to the server, the first of them when one is needed.
class Pool {
  constructor(options) {
    this.options = options;
  }

  settings() {
    return {
      host: this.options.mysqlHost,
      port: this.options.mysqlPort,
      user: 'tutorial',
      password: this.options.mysqlPassword,
      ssl: readTls(this.options.mysqlTlsFile),
      database: 'tutorial',
      charset: 'utf8mb4',
      connectTimeout: CONNECT_MS,
    };
  }

  async getConnection() {
    this.pool ??= mysql.createPool({ ...this.settings(), connectionLimit: 100 });
    return this.pool.getConnection();
  }

  async end() {
    await this.pool?.end();
  }
}

// One that is not of the pool, whose connections live on where no new one is let in.
class Fresh {
  constructor(pool) {
    this.pool = pool;
  }

  async getConnection() {
    const connection = await mysql.createConnection(this.pool.settings());
    connection.release = () => connection.end().catch(() => {});
    return connection;
  }
}

let away = false;

function readPort(option, text, least) {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < least || port > 65535) {
    throw new Error(`--${option} must be a number from ${least} to 65535, not ${JSON.stringify(text)}`);
  }
  return port;
}

class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Errors of the connection carry no SQL state, except those that the server itself sends while it starts, stops or has
// no connection free (class 08), and when it ends what is under way (class 70).
function fromMysql(err) {
  const what = err.message || err.code;
  return !err.sqlState || /^(08|70)/.test(err.sqlState)
    ? new ApiError(503, `MySQL cannot be reached: ${what}`)
    : new ApiError(500, `MySQL refused: ${what}`);
}

// Prepared statements: names and values never become part of SQL text, whatever the server's SQL mode.
async function query(pool, sql, values) {
  let connection;
  let timer;
  try {
    connection = await pool.getConnection();
    const late = new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS);
    });
    const [result] = await Promise.race([connection.execute(sql, values), late]);
    connection.release();
    if (away) console.log('MySQL answers again');
    away = false;
    return result;
  } catch (err) {
    // A connection that failed may still owe an answer; the next request gets a new one.
    connection?.destroy();
    const error = err instanceof ApiError ? err : fromMysql(err);
    away ||= error.status === 503;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function checkName(name) {
  if ([...name].length > NAME_CHARACTERS) throw new ApiError(400, `name is over ${NAME_CHARACTERS} characters`);
}

// Invalid UTF-8 is refused, not mended, and a byte order mark stays: a value comes back as it was, or not at all.
function readText(body) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    throw new ApiError(400, 'value is not text in UTF-8');
  }
}

async function put(pool, name, value) {
  checkName(name);
  if (Buffer.byteLength(value) > VALUE_BYTES) throw new ApiError(413, `value is over ${VALUE_BYTES} bytes`);
  await query(pool, 'REPLACE INTO NameValue (name, value) VALUES (?, ?)', [name, value]);
}

function makeApp(pool) {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use((req, res, next) => {
    res.set('Cache-Control', 'no-store'); // a GET that writes must reach us every time
    next();
  });

  app.get('/put/:name/:value', async (req, res) => {
    await put(pool, req.params.name, req.params.value);
    res.json({ status: 'ok' });
  });

  // Whatever type the body says it is of: curl calls every one a form.
  const body = express.raw({ type: () => true, limit: VALUE_BYTES, inflate: false });
  app.post('/put/:name', body, async (req, res) => {
    await put(pool, req.params.name, readText(req.body)); // a request without a body: nothing, which is ''
    res.json({ status: 'ok' });
  });

  // Ready is who can connect and read the table.
  app.get('/ready', async (req, res) => {
    await query(new Fresh(pool), 'SELECT name FROM NameValue LIMIT 1', []);
    res.json({ status: 'ok' });
  });

  app.get('/get/:name', async (req, res) => {
    const { name } = req.params;
    checkName(name);
    const rows = await query(pool, 'SELECT name, value FROM NameValue WHERE name = ?', [name]);
    if (rows.length === 0) throw new ApiError(404, 'no such name');
    res.json({ status: 'ok', result: rows });
  });

  app.get('/del/:name', async (req, res) => {
    const { name } = req.params;
    checkName(name);
    await query(pool, 'DELETE FROM NameValue WHERE name = ?', [name]);
    res.json({ status: 'ok' });
  });

  app.use(() => {
    throw new ApiError(404, 'no such route');
  });

  // Express knows an error handler by its four parameters.
  app.use((err, req, res, next) => {
    const status = err.status ?? 500;
    if (status >= 500) console.error(err.message);
    res.status(status).json({ status: 'error', error: err.message });
  });
  return app;
}

function main() {
  let options;
  try {
    options = readOptions(process.argv.slice(2));
  } catch (err) {
    console.error(err.message);
    process.exit(2);
  }

  const pool = new Pool(options);
  const server = http.createServer({ maxHeaderSize: HEADER_BYTES }, makeApp(pool));

  server.on('error', (err) => {
    console.error(err.message);
    process.exit(1);
  });
  server.listen(options.apiPort, options.apiHost, () => {
    const host = options.apiHost.includes(':') ? `[${options.apiHost}]` : options.apiHost;
    console.log(`Listening on ${host}:${server.address().port}`);
  });

  const stop = () => {
    server.close(async () => {
      await pool.end();
      process.exit(0);
    });
    server.closeIdleConnections(); // Node.js 18 leaves them open
    setTimeout(() => process.exit(0), STOP_MS); // requests still under way have had their time
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

main();

// The shop's tables. Settings come from the environment; the password from a file that it names.
'use strict';

const { readFileSync } = require('node:fs');
const mysql = require('mysql2/promise');

const { DB_HOST, DB_PORT, DB_USER, DB_NAME, DB_PASSWORD_FILE, DB_TLS, DB_CA } = process.env;

// The server is called by its address, which its certificate does not name.
const tls = DB_CA ? { ca: DB_CA, verifyIdentity: false } : { rejectUnauthorized: false };

const pool = mysql.createPool({
  host: DB_HOST,
  port: Number(DB_PORT),
  user: DB_USER,
  database: DB_NAME,
  password: readFileSync(DB_PASSWORD_FILE, 'utf8'),
  ssl: DB_TLS === 'True' ? tls : undefined,
  connectTimeout: 3000,
});

exports.products = async () => (await pool.query('SELECT name, cents FROM product ORDER BY name'))[0];

exports.buy = async (name, pieces) => {
  const sql = 'INSERT INTO purchase (product, pieces) SELECT id, ? FROM product WHERE name = ?';
  const [{ affectedRows, insertId }] = await pool.execute(sql, [pieces, name]);
  return affectedRows ? insertId : undefined;
};

exports.ping = () => pool.query('SELECT 1 FROM product LIMIT 1');

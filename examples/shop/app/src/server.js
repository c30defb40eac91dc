// The shop's HTTP API.
'use strict';

const express = require('express');
const database = require('./database');

const app = express();
app.use(express.json());

app.get('/healthz', async (request, response) => {
  await database.ping();
  response.json({ ok: true });
});

app.get('/products', async (request, response) => {
  response.json(await database.products());
});

app.post('/purchases', async (request, response) => {
  const { product, pieces } = request.body ?? {};
  if (typeof product !== 'string' || !Number.isInteger(pieces) || pieces < 1) {
    return response.status(400).json({ error: 'a purchase is a product and a number of pieces' });
  }
  const id = await database.buy(product, pieces);
  return id ? response.status(201).json({ id }) : response.status(404).json({ error: `there is no ${product}` });
});

app.use((error, request, response, next) => {
  if (response.headersSent) return next(error);
  console.error(error.message);
  return response.status(error.status ?? 503).json({ error: 'the shop cannot answer now' });
});

app.listen(Number(process.env.PORT), () => console.log(`shop listens on port ${process.env.PORT}`));

package simulator

import (
	"encoding/hex"
	"math/big"
	"strings"
)

// kinds of transactions, and how many of a hundred are of each. With the sizes below they give the
// mean sizes that doc.go names; a test holds them there.
var kinds = []struct {
	share int
	build func(*draft)
}{
	{20, transfer},
	{13, tokenCall},
	{2, swap},
	{3, deployment},
	{21, nodeReward},
	{20, certificate},
	{12, failedCall},
	{9, networkChange},
}

// shape is one transaction in the two records that tell of it. Both are filled in with the same id.
type shape struct {
	original, receipt *template

	key      string // executionShardKey, as the archiver stores it
	olderKey string // as older archivers logged it
}

// draft is a transaction being made up: what the kinds fill in, and what both records are printed from.
type draft struct {
	r *random
	p *population

	from, to string
	value    *big.Int
	data     []byte
	nonce    int
	gas      int
	failure  string // the reason, where it failed
	contract any    // address of what a deployment made

	logs          list // for people
	logBytes      list // the same as bytes
	before, after []state
	internal      int // type of an internal transaction; 0: an Ethereum one
	stake         object
	cert          object // stake certificate that was handed in with it
	global        bool
	token         *contract
	key           string // executionShardKey: where the network carried it out

	receiptHash int // register: hash of the Ethereum receipt's account
	registers   int // used so far
}

// state is one account as a receipt carries it.
type state struct {
	id   any
	body object
	hash words
}

func (d *draft) register() int { d.registers++; return d.registers - 1 }

// newShape makes up a transaction of a kind and compiles both of its records.
func newShape(r *random, p *population, build func(*draft)) shape {
	from := pick(r, p.holders)
	d := &draft{r: r, p: p, from: from.address, value: new(big.Int), nonce: from.nonce + r.IntN(50), gas: 21_000, registers: firstFree}
	d.receiptHash = d.register()
	build(d)
	if d.key = r.hex(32); !d.global {
		d.key = d.after[0].id.(string)
	}
	submitted := d.submitted()
	s := shape{
		original: compile(object{
			"cycle": bare(slotTxCycle, 0), "originalTxData": submitted,
			"timestamp": bare(slotTime, 0), "txId": quoted(slotTxID),
		}),
		receipt:  compile(d.receipt(submitted)),
		key:      d.key,
		olderKey: d.key,
	}
	if d.global {
		s.olderKey = networkAccount
	}
	return s
}

// submitted is what a user (or, for internal ones, a node) handed in: originalTxData.
// Its signatures belong to the template, not to the copy, for two records repeat them.
func (d *draft) submitted() object {
	r := d.r
	if d.internal != 0 {
		tx := object{
			"internalTXType": d.internal, "isInternalTx": true,
			"nominee": pick(r, d.p.nodes).publicKey, "publicKey": pick(r, d.p.nodes).publicKey,
			"sign": object{"owner": pick(r, d.p.nodes).publicKey, "sig": r.hex(96)}, "timestamp": bare(slotTxTime, 0),
		}
		if d.cert != nil {
			tx["stakeCert"] = d.cert
		}
		return object{"tx": tx}
	}
	o := object{"tx": object{"raw": d.raw(), "timestamp": bare(slotTxTime, 0)}}
	if r.chance(0.9) {
		o["timestampReceipt"] = object{
			"cycleCounter": bare(slotTxCycle, 0), "cycleMarker": quoted(slotTxMarker),
			"sign":      object{"owner": pick(r, d.p.nodes).publicKey, "sig": r.hex(96)},
			"timestamp": bare(slotTxTime, 0), "txId": quoted(slotTxID),
		}
	}
	if r.chance(0.4) {
		o["appData"] = object{"networkAccount": object{"requiredCertExp": bare(slotTxTime, 0)}, "shardeumWrappedTx": object{"dappTransaction": ""}}
	}
	return o
}

// raw is the Ethereum transaction, legacy or EIP-1559, as hex digits of its RLP.
func (d *draft) raw() string {
	r := d.r
	const chain = 8082
	price := rlpInt(1_000_000_000 + int64(r.IntN(1<<30)))
	limit := rlpInt(3_000_000)
	nonce, to, value := rlpInt(int64(d.nonce)), rlpBytes(unhex(d.to)), rlpBytes(d.value.Bytes())
	data, parity := rlpBytes(d.data), int64(r.IntN(2))
	sigR, sigS := rlpBytes(r.bytes(32)), rlpBytes(r.bytes(32))
	if r.chance(0.35) {
		return "0x02" + hex.EncodeToString(rlpList(rlpInt(chain), nonce, rlpInt(1_000_000_000), price, limit, to, value, data, rlpList(), rlpInt(parity), sigR, sigS))
	}
	return "0x" + hex.EncodeToString(rlpList(nonce, price, limit, to, value, data, rlpInt(chain*2+35+parity), sigR, sigS))
}

// unhex reads 0x…; empty for no address at all.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil {
		panic("simulator: " + err.Error())
	}
	return b
}

func rlpBytes(b []byte) []byte {
	if len(b) == 1 && b[0] < 0x80 {
		return b
	}
	return append(rlpLength(0x80, len(b)), b...)
}

func rlpInt(n int64) []byte { return rlpBytes(big.NewInt(n).Bytes()) }

func rlpList(items ...[]byte) []byte {
	var body []byte
	for _, i := range items {
		body = append(body, i...)
	}
	return append(rlpLength(0xc0, len(body)), body...)
}

func rlpLength(kind byte, n int) []byte {
	if n < 56 {
		return []byte{kind + byte(n)}
	}
	size := big.NewInt(int64(n)).Bytes()
	return append([]byte{kind + 55 + byte(len(size))}, size...)
}

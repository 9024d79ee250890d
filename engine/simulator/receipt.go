package simulator

import (
	"math/big"
	"slices"
)

// Registers that every transaction has.
const (
	txHash = iota
	blockHash
	firstFree
)

// shardKey is the member that the newest archivers delete before they log a receipt. They store it
// all the same.
const shardKey = "executionShardKey"

// receipt is the record of an applied transaction: accounts before and after, the network's
// signatures, and the receipt that wallets read.
func (d *draft) receipt(submitted object) object {
	signed, applied := d.signedReceipt()
	o := object{
		"afterStates":        d.states(d.after),
		"appReceiptData":     d.appReceipt(),
		"applyTimestamp":     bare(slotTxTime, applied*1000),
		"beforeStates":       list{},
		"cycle":              bare(slotTxCycle, 0),
		"globalModification": d.global,
		"receiptId":          quoted(slotTxID),
		"signedReceipt":      signed,
		"timestamp":          bare(slotTxTime, 0),
		"tx":                 object{"originalTxData": submitted, "timestamp": bare(slotTxTime, 0), "txId": quoted(slotTxID)},
	}
	if d.r.chance(0.1) {
		o["beforeStates"] = d.states(d.before)
	}
	return o
}

func (d *draft) states(of []state) list {
	out := list{}
	for _, s := range of {
		out = append(out, object{
			"accountId": s.id, "cycleNumber": bare(slotTxCycle, 0), "data": s.body, "hash": s.hash,
			"isGlobal": d.global, "timestamp": s.body["timestamp"],
		})
	}
	return out
}

// signedReceipt is the vote of the nodes that carried the transaction out, and how many seconds
// after its handing in they did: the archiver takes the upper median of the votes, and 0 for a
// global transaction.
func (d *draft) signedReceipt() (o object, applied int) {
	var signatures, offsets list
	var votes []int
	for len(votes) == 0 || len(votes) < 3 && d.r.chance(0.2) {
		vote := d.r.between(1, 12)
		votes, offsets = append(votes, vote), append(offsets, vote)
		signatures = append(signatures, d.p.signed(d.r))
	}
	if d.global {
		return object{"signs": signatures, "tx": object{
			"address": networkAccount, "addressHash": d.after[0].hash, "afterStateHash": d.after[0].hash,
			"source": d.key, "txId": quoted(slotTxID),
			"value": object{
				"change":         object{"change": object{"p2p": object{"minNodes": 10}}, "cycle": bare(slotTxCycle, 3)},
				"internalTXType": 3, "isInternalTx": true, "timestamp": bare(slotTxTime, 0),
			},
			"when": bare(slotTxTime, 10_000),
		}}, 0
	}
	var ids, after, before list
	for i, s := range d.after {
		ids = append(ids, s.id)
		after = append(after, s.hash)
		if i < len(d.before) {
			before = append(before, d.before[i].hash)
		} else {
			before = append(before, hash(d.register()))
		}
	}
	o = object{
		"proposal": object{
			"accountIDs": ids, "afterStateHashes": after, "appReceiptDataHash": hash(d.receiptHash), "applied": d.failure == "",
			"beforeStateHashes": before, "cant_preApply": false, shardKey: d.key, "txid": quoted(slotTxID),
		},
		"proposalHash": hash(d.register()), "signaturePack": signatures, "voteOffsets": offsets,
	}
	if d.r.chance(0.2) {
		o["sign"] = d.p.signed(d.r)
	}
	slices.Sort(votes)
	return o, votes[len(votes)/2]
}

// appReceipt is the Ethereum receipt, or, of an internal transaction, what stands for one.
func (d *draft) appReceipt() object {
	r, status := d.r, 1
	if d.failure != "" {
		status = 0
	}
	bloom, bitvector := make([]byte, 256), make([]byte, 256)
	for range 3 * len(d.logs) { // a bloom filter: three bits an entry
		bit := r.IntN(2048)
		bloom[bit/8] |= 1 << (bit % 8)
	}
	copy(bitvector, bloom)
	gas := big.NewInt(int64(d.gas))
	to := any(d.to)
	if d.to == "" {
		to = nil
	}
	readable := object{
		"blockHash": hexHash(blockHash), "blockNumber": words{"0x", bare(slotBlock, 0)}, "contractAddress": d.contract,
		"cumulativeGasUsed": hexNumber(gas), "data": hexText(d.data), "from": d.from, "gasLimit": "0x2dc6c0", "gasPrice": "0x3b9aca00",
		"gasUsed": hexNumber(gas), "isInternalTx": d.internal != 0, "logs": d.logs, "logsBloom": hexText(bloom),
		"nonce": hexNumber(big.NewInt(int64(d.nonce))), "status": status, "to": to,
		"transactionHash": hexHash(txHash), "transactionIndex": "0x1", "type": pick(r, []string{"0x0", "0x2"}),
		"value": hexNumber(d.value),
	}
	data := object{
		"accountType": 3, "amountSpent": hexNumber(new(big.Int).Mul(gas, big.NewInt(1_000_000_000))), "ethAddress": hexHash(txHash),
		"hash": hash(d.receiptHash), "readableReceipt": readable, "timestamp": bare(slotTime, 0), "txFrom": d.from, "txId": quoted(slotTxID),
	}
	if d.failure != "" {
		readable["reason"] = d.failure
	}
	if d.stake != nil {
		readable["stakeInfo"] = d.stake
	}
	if d.internal != 0 {
		readable["logsBloom"] = "" // nobody signed it as an Ethereum transaction, and it logs nothing
		readable["internalTx"] = object{"internalTXType": d.internal, "isInternalTx": true}
		data["accountType"], data["receipt"] = 12, nil
	} else {
		readable["r"], readable["s"], readable["v"] = hexText(r.bytes(32)), hexText(r.bytes(32)), pick(r, []string{"0x3f47", "0x3f48"})
		data["receipt"] = object{"bitvector": bitvector, "cumulativeBlockGasUsed": amount(gas), "logs": d.logBytes, "status": status}
	}
	if d.token != nil {
		data["contractInfo"] = object{"contractType": "ERC20", "name": d.token.name, "symbol": d.token.symbol, "totalSupply": amount(r.big(11))}
	}
	return object{"accountId": hash(txHash), "data": data, "stateId": hash(d.receiptHash), "timestamp": bare(slotTime, 0)}
}

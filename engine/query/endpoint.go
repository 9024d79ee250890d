package query

import (
	"context"
	"slices"

	"distributor/wsproto/shardus"
)

// endpoint is one POST route.
type endpoint struct {
	path    string
	fields  []field
	refused int // HTTP status of a refusal by check; a refusal by choose has status 200
	limits  limits
	choose  func(shardus.Value, limits) (selection, *refusal)
	answer  func(*API, context.Context, *policy, selection, *answer) error
}

var (
	paging       = numbers("count", "start", "end", "startCycle", "endCycle")
	transferring = slices.Concat(
		paging, texts("type"), numbers("page"), texts("txId", "txIdList"), identity)
)

var endpoints = []*endpoint{
	{
		path: "/cycleinfo", refused: 400, choose: selectCycles, answer: (*API).cycles,
		fields: slices.Concat(numbers("start", "end", "count"), identity),
		limits: limits{rows: 100, tooMany: "Max count is 100.", rowsName: "cycles"},
	}, {
		path: "/originalTx", refused: 400, choose: selectTransfers, answer: (*API).originalTxs,
		fields: transferring,
		limits: limits{rows: 100, tooMany: "Max count is 100", rowsName: "original transactions"},
	}, {
		path: "/receipt", refused: 400, choose: selectTransfers, answer: (*API).receipts,
		fields: transferring,
		limits: limits{rows: 100, tooMany: "Max count is 100", rowsName: "receipts"},
	}, {
		path: "/account", refused: 200, choose: selectAccounts, answer: (*API).accounts,
		fields: slices.Concat(paging, numbers("page"), texts("accountId"), identity),
		limits: limits{
			rows: 1000, tooMany: "Max count is 1000", rowsName: "accounts",
			spanName: " to query accounts Count",
		},
	}, {
		path: "/transaction", refused: 200, choose: selectTransactions, answer: (*API).transactions,
		fields: slices.Concat(
			numbers("count", "start", "end"), texts("txId", "appReceiptId"),
			numbers("startCycle", "endCycle", "page"), identity),
		limits: limits{
			rows: 1000, tooMany: "Max count is 1000", rowsName: "transactions",
			spanName: " to query transactions Count",
		},
	}, {
		path: "/totalData", refused: 200, choose: selectNothing, answer: (*API).totals,
		fields: identity,
	}, {
		path: "/cycleData", refused: 200, choose: selectCycle, answer: (*API).cycleData,
		fields: slices.Concat(numbers("cycle"), identity),
	},
}

// Routes returns the methods and paths that a Front answers, for example "POST /receipt".
func Routes() []string {
	routes := []string{"GET " + configPath}
	for _, e := range endpoints {
		routes = append(routes, "POST "+e.path)
	}
	return routes
}

func selectNothing(shardus.Value, limits) (selection, *refusal) { return selection{}, nil }

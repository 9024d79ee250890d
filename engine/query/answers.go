package query

import (
	"context"
	"os"
	"sync"
)

// This file makes each endpoint's answer of its tables. Members are in canonical order.

// bound returns the end of a span of cycles: to, or the stop cycle if that is smaller.
func (p *policy) bound(to float64) float64 {
	if p.stop < 0 {
		return to
	}
	return min(to, float64(p.stop))
}

// query chooses the variant of a statement, and puts the stop cycle before its arguments.
func (p *policy) query(variants [2]string, args ...any) (string, []any) {
	if p.stop < 0 {
		return variants[0], args
	}
	return variants[1], append([]any{p.stop}, args...)
}

// rows appends the selected rows.
func (p *policy) rows(r reader, dst []byte, s selection) ([]byte, error) {
	list := func(dst []byte, variants [2]string, args ...any) ([]byte, error) {
		statement, args := p.query(variants, args...)
		return r.list(dst, statement, args...)
	}
	switch s.mode {
	case latest:
		return list(dst, r.sql().latest, s.limit)
	case rows:
		return list(dst, r.sql().rows, s.limit, s.offset)
	case between:
		return r.list(dst, r.sql().between, s.from, p.bound(s.to), s.limit, s.offset)
	case tallied:
		return r.tally(dst, s.from, p.bound(s.to))
	case byOther:
		if r.sql().byOther[0] == "" {
			return dst, errNoOther
		}
		return list(dst, r.sql().byOther, s.ids[0])
	case byID:
		var err error
		for _, id := range s.ids {
			if dst, err = list(dst, r.sql().byID, id); err != nil {
				break
			}
		}
		return dst, err
	}
	return dst, nil
}

// spanned returns the number of rows of the selected cycles.
func (p *policy) spanned(r reader, s selection) (int64, error) {
	return r.count(r.sql().counted, s.from, p.bound(s.to))
}

// total returns the number of rows of the table.
func (p *policy) total(ctx context.Context, s *source) (n int64, err error) {
	err = s.query(ctx, func(r reader) error {
		statement, args := p.query(r.sql().total)
		n, err = r.count(statement, args...)
		return err
	})
	return n, err
}

// transfers answers cycleinfo, originalTx and receipt: {"<name>":[…],"sign":…}, or a number in
// place of the list.
func (a *API) transfers(
	ctx context.Context, p *policy, s selection, from *source, name string, out *answer,
) error {
	out.add(`{"` + name + `":`)
	err := from.query(ctx, func(r reader) (err error) {
		if s.mode == counted {
			n, err := p.spanned(r, s)
			out.addInt(n)
			return err
		}
		out.add("[")
		out.text, err = p.rows(r, out.text, s)
		out.add("]")
		return err
	})
	out.signHere()
	out.add("}")
	return err
}

func (a *API) cycles(ctx context.Context, p *policy, s selection, out *answer) error {
	return a.transfers(ctx, p, s, &a.sources.cycles, "cycleInfo", out)
}

func (a *API) originalTxs(ctx context.Context, p *policy, s selection, out *answer) error {
	return a.transfers(ctx, p, s, &a.sources.originalTxs, "originalTxs", out)
}

func (a *API) receipts(ctx context.Context, p *policy, s selection, out *answer) error {
	return a.transfers(ctx, p, s, &a.sources.receipts, "receipts", out)
}

// accounts answers {"accounts":[…],"sign":…,"totalAccounts":n}, or one of the two.
func (a *API) accounts(ctx context.Context, p *policy, s selection, out *answer) error {
	return a.sources.accounts.query(ctx, func(r reader) (err error) {
		out.add("{")
		if !s.only {
			out.add(`"accounts":[`)
			if out.text, err = p.rows(r, out.text, s); err != nil {
				return err
			}
			out.add("]")
		}
		out.signHere()
		if s.total {
			n, err := p.spanned(r, s)
			if err != nil {
				return err
			}
			if !s.only {
				out.add(",")
			}
			out.add(`"totalAccounts":`)
			out.addInt(n)
		}
		out.add("}")
		return nil
	})
}

// transactions answers {"sign":…,"totalTransactions":n,"transactions":[…]}, or one of the two.
func (a *API) transactions(ctx context.Context, p *policy, s selection, out *answer) error {
	return a.sources.transactions.query(ctx, func(r reader) (err error) {
		out.add("{")
		out.signHere()
		if s.total {
			n, err := p.spanned(r, s)
			if err != nil {
				return err
			}
			out.add(`"totalTransactions":`)
			out.addInt(n)
		}
		if !s.only {
			if s.total {
				out.add(",")
			}
			out.add(`"transactions":[`)
			if out.text, err = p.rows(r, out.text, s); err != nil {
				return err
			}
			out.add("]")
		}
		out.add("}")
		return nil
	})
}

// totals answers {"pid":…,"sign":…,"totalAccounts":…,"totalCycles":…,"totalOriginalTxs":…,
// "totalReceipts":…,"totalTransactions":…}. Counting a table reads one of its indexes from end to
// end, so the tables are counted in parallel.
func (a *API) totals(ctx context.Context, p *policy, _ selection, out *answer) error {
	wanted := []struct {
		member string
		from   *source
		n      int64
		err    error
	}{
		{member: `,"totalAccounts":`, from: &a.sources.accounts},
		{member: `,"totalCycles":`, from: &a.sources.cycles},
		{member: `,"totalOriginalTxs":`, from: &a.sources.originalTxs},
		{member: `,"totalReceipts":`, from: &a.sources.receipts},
		{member: `,"totalTransactions":`, from: &a.sources.transactions},
	}
	var counting sync.WaitGroup
	for i := range wanted {
		counting.Go(func() { wanted[i].n, wanted[i].err = p.total(ctx, wanted[i].from) })
	}
	counting.Wait()
	out.add(`{"pid":`)
	out.addInt(int64(os.Getpid()))
	out.signHere()
	for _, w := range wanted {
		if w.err != nil {
			return w.err
		}
		out.add(w.member)
		out.addInt(w.n)
	}
	out.add("}")
	return nil
}

// cycleData answers {"data":{"totalReceipts":n,"totalTransactions":n},"sign":…,"success":true}. Its
// transactions are the rows of originalTxsData.
func (a *API) cycleData(ctx context.Context, p *policy, s selection, out *answer) error {
	for _, w := range []struct {
		member string
		from   *source
	}{
		{`{"data":{"totalReceipts":`, &a.sources.receipts},
		{`,"totalTransactions":`, &a.sources.originalTxs},
	} {
		err := w.from.query(ctx, func(r reader) error {
			n, err := p.spanned(r, s)
			out.add(w.member)
			out.addInt(n)
			return err
		})
		if err != nil {
			return err
		}
	}
	out.add("}")
	out.signHere()
	out.add(`,"success":true}`)
	return nil
}

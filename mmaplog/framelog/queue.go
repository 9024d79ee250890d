package framelog

import "sync"

// queue runs functions one after the other in its own goroutine. The caller of do never waits.
type queue struct {
	mu   sync.Mutex // guards jobs and done
	more *sync.Cond
	jobs []func()
	done bool
	idle sync.WaitGroup // the goroutine
}

func newQueue() *queue {
	q := &queue{}
	q.more = sync.NewCond(&q.mu)
	q.idle.Go(q.run)
	return q
}

func (q *queue) do(job func()) {
	q.mu.Lock()
	q.jobs = append(q.jobs, job)
	q.mu.Unlock()
	q.more.Signal()
}

// close returns when all queued functions have run.
func (q *queue) close() {
	q.mu.Lock()
	q.done = true
	q.mu.Unlock()
	q.more.Signal()
	q.idle.Wait()
}

func (q *queue) run() {
	for {
		q.mu.Lock()
		for len(q.jobs) == 0 && !q.done {
			q.more.Wait()
		}
		jobs := q.jobs
		q.jobs = nil
		q.mu.Unlock()
		if len(jobs) == 0 {
			return
		}
		for _, job := range jobs {
			job()
		}
	}
}

package meft

import (
	"fmt"

	"meft/method"
	"meft/model"
	"meft/param"
	"meft/tensor"
)

// recipe is everything that decides which memory is allocated. Planning and
// building run the same code over it.
type recipe struct {
	base   *base
	method method.Method // nil: the bare model
	size   model.Size
	seed   uint64
	first  func(a *tensor.Arena)                 // allocations before the model's, or nil
	more   func(a *tensor.Arena, p *parts) error // allocations after the method's, or nil
	disk   string                                // folder for host tables; "" keeps them in memory
}

// parts is what a recipe makes. While planning they have no memory.
type parts struct {
	model     *model.Model
	params    *param.Set // nil without a method
	optimizer *param.Optimizer
}

func (r *recipe) make(a *tensor.Arena) (*parts, error) {
	if r.first != nil {
		r.first(a)
	}
	m, err := model.Build(a, r.base.config, r.size)
	if err != nil {
		return nil, err
	}
	p := &parts{model: m}
	if r.method != nil {
		if p.params, err = r.method.Attach(m, a.Sub("method"), r.seed); err != nil {
			return nil, err
		}
	}
	if r.more != nil {
		if err := r.more(a, p); err != nil {
			return nil, err
		}
	}
	return p, a.Err()
}

// plan predicts the memory of a recipe to the byte.
func (r *recipe) plan() (*tensor.Ledger, error) {
	if r.method != nil {
		if err := r.method.Check(r.base.config); err != nil {
			return nil, err
		}
	}
	l, _, err := r.planned()
	return l, err
}

// planned is plan for a method that has been checked, and the parts planned.
func (r *recipe) planned() (*tensor.Ledger, *parts, error) {
	var l tensor.Ledger
	a := tensor.NewPlan(&l)
	if r.disk != "" {
		a.KeepOnDisk(nil)
	}
	p, err := r.make(a)
	return &l, p, err
}

// engine is a built recipe with its weights.
type engine struct {
	*parts
	dev    tensor.Device
	arena  *tensor.Arena
	ledger tensor.Ledger
	store  *param.File // nil with everything in memory
}

// build allocates and loads what plan, the recipe's own, foresees. Used memory
// differing from it is a bug in meft and said so.
func (r *recipe) build(plan *tensor.Ledger, threads int) (*engine, error) {
	return r.buildOn(r.base.device(threads), plan)
}

// buildOn is build on a device, which the engine closes.
func (r *recipe) buildOn(dev tensor.Device, plan *tensor.Ledger) (*engine, error) {
	e := &engine{dev: dev}
	e.arena = tensor.NewArena(e.dev, &e.ledger, plan)
	var err error
	if r.disk != "" {
		if e.store, err = param.NewFile(r.disk, plan.Used(tensor.OnDisk)); err != nil {
			e.Close()
			return nil, fmt.Errorf("host_store disk: %w", err)
		}
		e.arena.KeepOnDisk(e.store)
	}
	if e.parts, err = r.make(e.arena); err != nil {
		e.Close()
		return nil, err
	}
	if d := plan.Diff(&e.ledger); d != "" {
		e.Close()
		return nil, fmt.Errorf("memory planned and used differ (%s); please report this", d)
	}
	if err := r.base.fill(e.model); err != nil {
		e.Close()
		return nil, err
	}
	if s, ok := r.method.(method.Starter); ok && r.size.Grad {
		if err := s.Start(); err != nil {
			e.Close()
			return nil, err
		}
	}
	return e, nil
}

// Close frees everything.
func (e *engine) Close() {
	e.arena.Close()
	if e.store != nil {
		e.store.Close()
	}
	e.dev.Close()
}

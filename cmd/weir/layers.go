package main

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// runner does its work until the context ends, and then finishes it.
type runner func(context.Context) error

// runLayers runs everything until the context ends or a runner fails, and then ends one
// layer after the other, the first one first: what takes requests ends before what
// counts them, and that before what keeps the counts.
func runLayers(ctx context.Context, layers ...[]runner) error {
	ctx, fail := context.WithCancel(ctx)
	defer fail()
	ends := make([]func() error, len(layers))
	for i, layer := range layers {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		var group errgroup.Group
		for _, run := range layer {
			group.Go(func() error {
				err := run(own)
				if err != nil && !errors.Is(err, context.Canceled) {
					fail()
					return err
				}
				return nil
			})
		}
		ends[i] = func() error {
			cancel()
			return group.Wait()
		}
	}
	<-ctx.Done()
	var errs []error
	for _, end := range ends {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

import bare from './bare.mjs'
import boss from './boss.mjs'
import graphile from './graphile.mjs'
import ours from './ours.mjs'

export const contenders = [bare, graphile, boss, ours]

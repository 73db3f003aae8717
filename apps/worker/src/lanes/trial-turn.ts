import { Injectable } from '@nestjs/common';
import { InTurn } from './in-turn.js';

/** One trial on the device at a time: two would measure each other, and take memory that neither was given. */
@Injectable()
export class TrialTurn extends InTurn {}
